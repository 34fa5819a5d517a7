"""Listing the image files of a dataset."""

import logging
import os
import re
from collections.abc import Iterable, Iterator

from ...errors import InputError
from ..images import IMAGE_SUFFIXES

__all__ = [
    "check_files_exist",
    "first_few",
    "folder_names",
    "image_names",
    "images_below",
    "listed_lines",
    "natural_key",
    "warn_of_loose_images",
]

logger = logging.getLogger(__name__)


def natural_key(text: str) -> tuple:
    """Sort key that takes digits as numbers: "c2" before "c10". A total order: equal keys mean equal texts."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)], text


def image_names(folder: str) -> list[str]:
    """The names of the image files directly in ``folder``, sorted, without what is hidden.

    Raises:
        InputError: no such folder.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise InputError(f"folder {folder!r} cannot be listed: {error.strerror}; check the path") from error
    return sorted(filter(_is_image, names))


def images_below(folder: str) -> list[str]:
    """The image files in ``folder`` and below it in natural order, without what is hidden.

    Links are followed, but no folder is looked into twice: a link may lead back to where it is.
    """
    found, walked = [], set()
    for where, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(where)
        if here in walked:
            folders.clear()
            continue
        walked.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(where, name) for name in filter(_is_image, names)]
    return sorted(found, key=natural_key)


def _is_image(name: str) -> bool:
    # Other systems leave "._a.jpg" and the like.
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def folder_names(folder: str) -> list[str]:
    """The names of the folders directly in ``folder`` in natural order, without hidden ones.

    Raises:
        InputError: no such folder.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"folder {folder!r} cannot be listed: {error.strerror}; see the layout in datasets/README.md"
        ) from error
    return sorted(names, key=natural_key)


def warn_of_loose_images(folders: Iterable[str], group: str) -> None:
    """Tell which images lie directly in ``folders``, each of which should hold a folder per ``group`` instead."""
    loose = [os.path.join(folder, name) for folder in folders for name in image_names(folder)]
    if loose:
        logger.warning("%d images are in no folder of %s and are left out: %s", len(loose), group, first_few(loose))


def listed_lines(path: str, cure: str = "save it as text in UTF-8") -> Iterator[tuple[int, str]]:
    """Number and text of every line of a list that is not empty.

    Raises:
        InputError: no UTF-8, with the ``cure``.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise InputError(f"{path!r}: {error}; {cure}") from error


def check_files_exist(paths: Iterable[str], source: str) -> None:
    """Each folder is listed once, which on a network disk is much faster than asking for each file.

    Raises:
        InputError: some of ``paths`` do not exist. It gives their number and the first three.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            here = folder or os.curdir
            listings[folder] = set(os.listdir(here)) if os.path.isdir(here) else set()
        if name not in listings[folder]:
            missing.append(path)
    if missing:
        cure = "write / in place of \\" if os.sep == "/" and "\\" in missing[0] else "check the paths"
        raise InputError(f"{source} lists {len(missing)} images that do not exist: {first_few(missing)}; {cure}")


def first_few(items: Iterable[object], number: int = 3) -> str:
    """For messages: the first items, and dots if there are more."""
    items = list(items)
    return ", ".join(str(item) for item in items[:number]) + (", ..." if len(items) > number else "")
