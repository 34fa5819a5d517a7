"""A gallery that many requests use at the same time."""

import os
import threading
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..evaluation import FaissGallery, Gallery, Records
from ..evaluation.records import known
from ..text import printable

__all__ = ["Item", "NotInGallery", "SharedGallery"]


class NotInGallery(InputError):
    """An id that no item has, or an item whose file has gone."""


class Item(NamedTuple):
    """What clients may learn about an item: of its path only the file name. Unknown values are None."""

    id: int
    identity: str | None
    camera: str | None
    name: str


class SharedGallery:
    """One gallery behind a lock, written to its folder after each change. Before a change it is reloaded if another
    process has written to the folder.

    Args:
        gallery: any.
        folder: of a ``FaissGallery``; a gallery in Milvus needs none.

    Attributes:
        cameras: how many items each camera has.
    """

    def __init__(self, gallery: Gallery, folder: str | os.PathLike | None) -> None:
        self.gallery, self.folder = gallery, folder
        self._lock = threading.RLock()
        self._look_through()

    def _look_through(self) -> None:
        everything = self.everything()
        self._is_text = {name: getattr(everything, name).dtype.kind == "U" for name in ("identities", "cameras")}
        self.cameras = Counter(text for value in everything.cameras.tolist() if (text := _text(value)) is not None)

    def __len__(self) -> int:
        return len(self.gallery)

    def everything(self) -> Records:
        """The records of all items."""
        return self.gallery.records(self.gallery.ids)

    def search(self, feature: np.ndarray, k: int, cameras: Collection[str] = ()) -> list[tuple[Item, float]]:
        """The ``k`` items nearest to one feature (1, D), with their distances; of all cameras if none is given.

        Raises:
            InputError: a camera that the gallery does not have.
        """
        if unknown := sorted(set(cameras) - self.cameras.keys()):
            raise InputError(f"the gallery has no camera {unknown[0]!r}; choose from those of GET /gallery")
        with self._lock:
            k = max(1, min(k, len(self)))
            hits = self.gallery.search(feature, k, list(cameras) or None)
            found = hits.ids[0] >= 0
            ids = hits.ids[0][found].tolist()
            items = _items(ids, self.gallery.records(ids))
        return list(zip(items, hits.distances[0][found].tolist(), strict=True))

    def item(self, item_id: int) -> Item:
        """
        Raises:
            NotInGallery: no such item.
        """
        return _items([item_id], self._record(item_id))[0]

    def path(self, item_id: int) -> Path:
        """
        Raises:
            NotInGallery: no such item.
        """
        return Path(str(self._record(item_id).paths[0]))

    def check_labels(self, identity: str, camera: str) -> None:
        """
        Raises:
            InputError: text where the gallery has numbers.
        """
        self._as_stored("identities", identity)
        self._as_stored("cameras", camera)

    def add(self, feature: np.ndarray, path: Path, identity: str, camera: str) -> Item:
        """Add one feature (1, D) with its record.

        Raises:
            InputError: text where the gallery has numbers.
        """
        with self._lock:
            self._refresh()
            labels = [self._as_stored("identities", identity)], [self._as_stored("cameras", camera)]
            (item_id,) = self.gallery.add(feature, Records([str(path)], *labels)).tolist()
            self._save()
            item = self.item(item_id)
            if item.camera is not None:
                self.cameras[item.camera] += 1
        return item

    def remove(self, item_id: int) -> Path:
        """Remove an item and return its path.

        Raises:
            NotInGallery: no such item, or another process has rebuilt the gallery and the id now belongs to another
                image.
        """
        with self._lock:
            shown = self.path(item_id)
            self._refresh()
            item, path = self.item(item_id), self.path(item_id)
            if path != shown:
                raise NotInGallery(f"item {item_id} is another image since the gallery was built again; search again")
            self.gallery.remove([item_id])
            self._save()
            self.cameras -= Counter([item.camera])
        return path

    def _refresh(self) -> None:
        """Before a change, reload the gallery if another process has written it."""
        if self.folder is None or self.gallery.is_current():
            return
        try:
            self.gallery = FaissGallery.open(self.folder, self.gallery.fingerprint)
        except InputError as error:  # not the request's fault
            raise RuntimeError("another process has written a gallery that cannot be used here") from error
        self._look_through()

    def _save(self) -> None:
        """Write a change; if that is not possible, discard it."""
        try:
            self.gallery.save(self.folder)
        except Exception:
            self.gallery = FaissGallery.open(self.folder, self.gallery.fingerprint)
            raise

    def _record(self, item_id: int) -> Records:
        with self._lock:
            try:
                return self.gallery.records([item_id])
            except InputError:
                raise NotInGallery(f"the gallery has no item {item_id}") from None

    def _as_stored(self, column: str, value: str) -> str | int:
        if self._is_text[column]:
            return value
        try:
            return int(np.int64(value))
        except (ValueError, OverflowError):
            raise InputError(f"the {column} of this gallery are numbers, not {value!r}; give a number") from None


def _items(ids: list[int], records: Records) -> list[Item]:
    columns = records.identities.tolist(), records.cameras.tolist(), records.paths.tolist()
    return [
        Item(item_id, _text(identity), _text(camera), printable(Path(path).name))
        for item_id, identity, camera, path in zip(ids, *columns, strict=True)
    ]


def _text(value: str | int) -> str | None:
    return None if known(value) is None else str(value)
