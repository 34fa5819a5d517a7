"""Listing the image files of a dataset."""

import logging
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ...errors import InputError
from ...text import first_few, natural_key
from ..images import IMAGE_SUFFIXES, UNREAD_IMAGE_SUFFIXES

__all__ = [
    "check_files_exist",
    "folder_names",
    "grouped_images",
    "image_names",
    "images_below",
    "listed_lines",
    "warn_of_left_out",
]

logger = logging.getLogger(__name__)

_UNREAD = "images are in formats that are not read (convert them to JPEG or PNG)"


class _Content(NamedTuple):
    """The names directly in a folder, without hidden files such as "._a.jpg", which other systems leave behind."""

    folders: list[str]  # in natural order
    images: list[str]  # sorted
    unread: list[str]  # images in formats that are not opened, sorted


def _content(folder: str) -> _Content:
    try:
        with os.scandir(folder) as entries:
            is_folder = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        raise InputError(
            f"folder {folder!r} cannot be listed: {error.strerror}; check the path (datasets/README.md shows layouts)"
        ) from error
    folders = sorted(filter(is_folder.get, is_folder), key=natural_key)
    suffixes = {name: os.path.splitext(name)[1].lower() for name in sorted(is_folder) if not is_folder[name]}
    images = [name for name, suffix in suffixes.items() if suffix in IMAGE_SUFFIXES]
    return _Content(folders, images, [name for name, suffix in suffixes.items() if suffix in UNREAD_IMAGE_SUFFIXES])


def folder_names(folder: str) -> list[str]:
    """The names of the folders directly in ``folder`` in natural order, without hidden ones.

    Raises:
        InputError: the folder cannot be listed.
    """
    return _content(folder).folders


def image_names(folder: str) -> list[str]:
    """The names of the image files directly in ``folder``, sorted, without hidden ones.

    A warning reports images in formats that are not read.

    Raises:
        InputError: the folder cannot be listed.
    """
    content = _content(folder)
    warn_of_left_out(_joined(folder, content.unread), _UNREAD)
    return content.images


def images_below(folder: str) -> list[str]:
    """The image files in ``folder`` and below it in natural order, without hidden files and folders.

    Links are followed, but no folder is visited twice, because a link may point to a folder above it. A warning reports
    images in formats that are not read.

    Raises:
        InputError: a folder cannot be listed.
    """
    found, unread, walked, waiting = [], [], set(), [folder]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(here)
        if real in walked:
            continue
        walked.add(real)
        content = _content(here)
        waiting += _joined(here, reversed(content.folders))
        found += _joined(here, content.images)
        unread += _joined(here, content.unread)
    warn_of_left_out(unread, _UNREAD)
    return sorted(found, key=natural_key)


def grouped_images(folders: Iterable[str], group: str) -> Iterator[tuple[str, str, list[str]]]:
    """The images at ``folder/<name>/<image>`` for each of ``folders``. ``group`` says what a <name> is: "a class", say.

    Warnings report what is left out: images next to the folders <name>, folders inside these, and images in formats
    that are not read.

    Yields:
        The folder, a <name> (in natural order), and the sorted names of its images, which may be empty.

    Raises:
        InputError: a folder cannot be listed.
    """
    loose, nested, unread = [], [], []
    for folder in folders:
        content = _content(folder)
        loose += _joined(folder, content.images)
        unread += _joined(folder, content.unread)
        for name in content.folders:
            home = os.path.join(folder, name)
            inner = _content(home)
            nested += _joined(home, inner.folders)
            unread += _joined(home, inner.unread)
            yield folder, name, inner.images
    warn_of_left_out(loose, f"images are in no folder of {group}")
    warn_of_left_out(nested, f"folders are in a folder of {group}")
    warn_of_left_out(unread, _UNREAD)


def _joined(folder: str, names: Iterable[str]) -> list[str]:
    return [os.path.join(folder, name) for name in names]


def warn_of_left_out(paths: list[str], what: str) -> None:
    """Warn how many ``paths`` are left out, ``what`` they are, and which are the first. No paths, no warning."""
    if paths:
        logger.warning("%d %s and are left out: %s", len(paths), what, first_few(paths))


def listed_lines(path: str, cure: str = "save it as text in UTF-8") -> Iterator[tuple[int, str]]:
    """The number (from 1) and text of every line of a file that is not blank.

    Raises:
        InputError: the file is not UTF-8; the message includes the ``cure``.
        OSError: the file cannot be opened.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise InputError(f"{path!r}: {error}; {cure}") from error


def check_files_exist(paths: Iterable[str], source: str) -> None:
    """Refuse a list with files that do not exist.

    Each folder is listed once, which on a network disk is much faster than testing each file.

    Raises:
        InputError: some of ``paths`` do not exist; the message gives their number and the first three.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            here = folder or os.curdir
            listings[folder] = set(os.listdir(here)) if os.path.isdir(here) else set()
        # On macOS and Windows, names that differ in case or in the Unicode form of accents are the same file.
        if name not in listings[folder] and not os.path.exists(path):
            missing.append(path)
    if missing:
        cure = "write / in place of \\" if os.sep == "/" and "\\" in missing[0] else "check the paths"
        raise InputError(f"{source} lists {len(missing)} images that do not exist: {first_few(missing)}; {cure}")
