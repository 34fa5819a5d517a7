"""Examine image files one by one: whether they decode, their size, and which are identical."""

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from PIL import ExifTags, Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ...errors import InputError
from ..images import IMAGE_FORMATS, decode_image
from ..loader import available_cores

__all__ = ["ImageFile", "examine_files"]


class ImageFile(NamedTuple):
    """``size`` is (width, height), None for a broken image; ``digest`` is empty if the file cannot be read."""

    size: tuple[int, int] | None
    digest: bytes
    error: str


class _Files(Dataset):
    def __init__(self, paths: Sequence[str], decode: bool):
        self.paths, self.decode = paths, decode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImageFile:
        path, digest = self.paths[index], b""
        try:
            with open(path, "rb") as file:
                data = file.read()
            digest = hashlib.blake2b(data, digest_size=16).digest()
            return ImageFile((_decoded_size if self.decode else _size_in_header)(data, path), digest, "")
        except InputError as error:
            return ImageFile(None, digest, str(error).partition("; ")[0])
        except OSError as error:
            return ImageFile(None, digest, f"image {path!r} cannot be read: {error.strerror}")


def _decoded_size(data: bytes, path: str) -> tuple[int, int]:
    _, height, width = decode_image(data, path).shape
    return width, height


def _size_in_header(data: bytes, path: str) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            orientation = None
            with suppress(Exception):  # a damaged EXIF block, as in decode_image
                orientation = image.getexif().get(ExifTags.Base.Orientation)
            # Orientations from 5 on are rotated by 90 degrees.
            return image.size[::-1] if orientation in range(5, 9) else image.size
    except Exception as error:  # as in decode_image
        raise InputError(f"image {path!r} has no header of a known image format") from error


def examine_files(paths: Sequence[str], *, decode: bool = True, workers: int | None = None) -> dict[str, ImageFile]:
    """Read every image file in worker processes, with a progress bar.

    Args:
        paths: the files, each once.
        decode: decode the images as training does. If False, files are read but only their header is parsed, so that
            a truncated image goes unnoticed.
        workers: number of processes, at most (and by default) one per core that this process may use; 0: no workers.
    """
    cores = available_cores()
    workers = cores if workers is None else min(workers, cores)
    batch_size = 32
    if len(paths) <= batch_size:  # starting a worker would take longer
        workers = 0
    found: dict[str, ImageFile] = {}
    loader = DataLoader(_Files(paths, decode), batch_size=batch_size, num_workers=workers, collate_fn=list)
    with tqdm(total=len(paths), desc="images", unit="image") as progress:
        for files in loader:
            found.update(zip(paths[len(found) :], files, strict=False))
            progress.update(len(files))
    return found
