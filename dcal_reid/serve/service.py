"""The server without HTTP: search, pictures and changes of one gallery with one model."""

import hashlib
import logging
import re
import threading
import uuid
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import NamedTuple

from torch import Tensor

from ..data.images import read_image
from ..engine.predictor import Predictor
from ..errors import InputError
from ..files import written_atomically
from ..modeling import DCAL
from .batching import Batcher
from .pictures import as_jpeg, as_png, decode_upload, overlay
from .settings import Settings
from .shared import Item, NotInGallery, SharedGallery
from .threshold import find_threshold

__all__ = ["Hit", "SearchService"]

logger = logging.getLogger(__name__)

_BATCH = 16  # images that go through the model at one time
_IMAGES = 2 * _BATCH  # images in memory at one time: the next batch gathers while one is computed
_CACHED = 512  # pictures
_STORED = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\.png")  # a file that was added: uuid4().hex


class Hit(NamedTuple):
    """An item that a search found."""

    item: Item
    distance: float
    match: bool


class SearchService:
    """Thread-safe: the model runs in one thread, and requests that wait for it are batched.

    Args:
        predictor, gallery: of the same model.
        settings: see :class:`Settings`.

    Attributes:
        threshold: the distance below which a hit is a match, if a search names none.
        false_positive_rate: of that threshold; None if the threshold was given, or is a guess.
        branches: those whose attention can be drawn; none with a backbone without a CLS token, or with fast-reid's
            network.

    Raises:
        InputError: no threshold is given and none can be found.
    """

    def __init__(self, predictor: Predictor, gallery: SharedGallery, settings: Settings) -> None:
        self.predictor, self.gallery, self.settings = predictor, gallery, settings
        self.threshold, self.false_positive_rate = settings.threshold, None
        if self.threshold is None:
            self.threshold, self.false_positive_rate = find_threshold(predictor, gallery)
        self.branches = _branches(predictor)
        self._images = threading.BoundedSemaphore(_IMAGES)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.features = Batcher(lambda images: predictor(images).numpy(), _BATCH, self._worker)
        self._maps = {b: Batcher(partial(_attention, predictor, b), _BATCH, self._worker) for b in self.branches}
        self._cached_picture = lru_cache(_CACHED)(self._draw)

    def close(self) -> None:
        self._worker.shutdown()

    def search(
        self, data: bytes, k: int, cameras: Collection[str] = (), threshold: float | None = None, branch: str = ""
    ) -> tuple[list[Hit], bytes | None]:
        """The ``k`` nearest items of some cameras, and the query with the attention of a branch as a JPEG.

        Args:
            data: an image file.
            cameras: empty: all.
            threshold: default: ``self.threshold``.
            branch: "" for no attention.

        Raises:
            InputError: the image cannot be used, or there is no such camera or branch.
        """
        threshold = self.threshold if threshold is None else threshold
        self._check_branch(branch)
        with self._images:
            image = decode_upload(data, self.settings.max_pixels)
            feature = self.features(image)[None]
            drawn = as_jpeg(self._overlay(image, branch)) if branch else None
        found = self.gallery.search(feature, k, cameras)
        return [Hit(item, distance, distance < threshold) for item, distance in found], drawn

    def picture(self, item_id: int, branch: str = "") -> tuple[bytes, str]:
        """An item's image as a JPEG, with the attention of a branch if one is named, and a tag that changes with it.

        Raises:
            NotInGallery: no such item, or no image at its path any more.
            InputError: no such branch.
        """
        self._check_branch(branch)
        path = self.gallery.path(item_id)
        gone = NotInGallery(f"the image of item {item_id} cannot be read any more; its file has gone or is damaged")
        try:
            state = path.stat()
            tag = hashlib.sha256(repr((path, state.st_mtime_ns, state.st_size, branch)).encode()).hexdigest()[:32]
            return self._cached_picture(str(path), tag, branch), tag
        except (OSError, InputError) as error:
            logger.warning("%s", error)
            raise gone from None

    def add(self, data: bytes, identity: str, camera: str) -> Item:
        """Store an image as a PNG and add it to the gallery.

        Raises:
            InputError: an image that cannot be used, or text where the gallery has numbers.
        """
        self.gallery.check_labels(identity, camera)
        with self._images:
            image = decode_upload(data, self.settings.max_pixels)
            feature, stored = self.features(image)[None], as_png(image)
        self.settings.uploads.mkdir(parents=True, exist_ok=True)
        path = self.settings.uploads.resolve() / f"{uuid.uuid4().hex}.png"
        with written_atomically(path) as temporary:
            temporary.write_bytes(stored)
        try:
            return self.gallery.add(feature, path, identity, camera)
        except Exception:
            path.unlink()  # belongs to no item
            raise

    def remove(self, item_id: int) -> None:
        """Take an item out of the gallery; its file is deleted only if :meth:`add` stored it.

        Raises:
            NotInGallery: no such item.
        """
        path = self.gallery.remove(item_id)
        if path.parent == self.settings.uploads.resolve() and _STORED.fullmatch(path.name):
            path.unlink(missing_ok=True)

    def _check_branch(self, branch: str) -> None:
        if branch and branch not in self.branches:
            raise InputError(f"this model has no attention of {branch!r}; it has {', '.join(self.branches) or 'none'}")

    def _draw(self, path: str, tag: str, branch: str) -> bytes:
        with self._images:
            image = read_image(path)
            return as_jpeg(self._overlay(image, branch) if branch else image)

    def _overlay(self, image: Tensor, branch: str) -> Tensor:
        maps = self._maps[branch](image)
        # A map covers what the model sees, which after a crop is not the whole image.
        return overlay(self.predictor.preprocess([image])[0] if self.predictor.cfg.INPUT.CROP.ENABLED else image, maps)


def _branches(predictor: Predictor) -> list[str]:
    model = predictor.model
    if not isinstance(model, DCAL) or model.backbone.grid_size is None:
        return []
    return ["sa"] if model.glca is None else ["sa", "glca"]


def _attention(predictor: Predictor, branch: str, images: list[Tensor]) -> Tensor:
    """Maps (n, gh, gw) of n images on the CPU."""
    return getattr(predictor.attention(images), branch).cpu()
