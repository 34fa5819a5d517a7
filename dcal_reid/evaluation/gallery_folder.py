"""The folder of a faiss gallery: each save is a new generation of files, which counts once gallery.json names it."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from ..files import sync, written_atomically
from ..text import check_utf8

__all__ = ["META", "generation_of", "resolved_folder", "write_generation"]

META = "gallery.json"
_NUMBERED = re.compile(r"(?:ids|paths|identities|cameras|hidden|vectors)-(\d+)\.(?:npy|faiss)")


def resolved_folder(path) -> Path:
    """A gallery's folder, absolute and without links.

    Raises:
        InputError: it is not UTF-8, and faiss opens no such file.
    """
    folder = Path(path).resolve()
    check_utf8([str(folder)], "the path of a gallery", "rename the folder, or choose another")
    return folder


def generation_of(folder: Path) -> int:
    """The number of the last save in a folder, one more than that of the save before; -1: there was none."""
    meta = folder / META
    if not meta.is_file():
        return -1
    try:
        return int(json.loads(meta.read_text())["generation"])
    except (ValueError, TypeError, KeyError, OverflowError):  # damaged: a new gallery may take its place
        return max((number for _, number in _numbered(folder)), default=-1)


def write_generation(folder: Path, write: Callable[[int], None], meta: dict) -> int:
    """Write the next generation, and remove the others. If that fails the folder holds what it held.

    Args:
        folder: an existing one, to which nobody else writes meanwhile (``files.one_writer``).
        write: makes the files of the generation that it is given, ``ids-<generation>.npy`` and so on.
        meta: what else ``gallery.json`` says.

    Returns:
        the generation.
    """
    old = generation_of(folder)
    # A folder that was removed and made again must not count as the one before.
    generation = old + 1 if old >= 0 else secrets.randbelow(2**48)
    try:
        write(generation)
        for file, number in _numbered(folder):
            if number == generation:
                sync(file)
    except BaseException:
        for file, number in _numbered(folder):
            if number == generation:  # of no use, and the disk may be full of it
                file.unlink()
        raise
    # Up to here the folder still holds the gallery of before.
    with written_atomically(folder / META) as temporary:
        temporary.write_text(json.dumps(meta | {"generation": generation}, indent=2) + "\n")
    for file, number in _numbered(folder):
        if number != generation:  # also those of a process that was killed
            file.unlink()
    for file in folder.glob(f".{META}.*.tmp"):  # which are of such a process alone: others wait for this one
        file.unlink()
    return generation


def _numbered(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files of a gallery, each with the generation that it is of."""
    for file in sorted(folder.iterdir()):
        if name := _NUMBERED.fullmatch(file.name):
            yield file, int(name[1])
