"""The folder of a faiss gallery: each save writes a new generation of files, valid once gallery.json names it."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from ..files import sync, written_atomically
from ..text import check_utf8

__all__ = ["META", "generation_of", "remove_other_generations", "resolved_folder", "write_generation"]

META = "gallery.json"
_NUMBERED = re.compile(r"(?:ids|paths|identities|cameras|hidden|vectors)-(\d+)\.(?:npy|faiss)")


def resolved_folder(path) -> Path:
    """A gallery's folder, absolute and without links.

    Raises:
        InputError: the path is not UTF-8, which faiss cannot open.
    """
    folder = Path(path).resolve()
    check_utf8([str(folder)], "the path of a gallery", "rename the folder, or choose another")
    return folder


def generation_of(folder: Path) -> int:
    """The generation of the last save in a folder, which increases by one with each save; -1: no save."""
    meta = folder / META
    if not meta.is_file():
        return -1
    try:
        return int(json.loads(meta.read_text())["generation"])
    except (ValueError, TypeError, KeyError, OverflowError):  # damaged: a new gallery may replace it
        return max((number for _, number in _numbered(folder)), default=-1)


def write_generation(folder: Path, write: Callable[[int], None], meta: dict) -> int:
    """Write the next generation, which then counts. If writing fails, the folder keeps the previous generation.

    Args:
        folder: an existing folder, locked against other writers (``files.one_writer``).
        write: writes the files of the given generation, ``ids-<generation>.npy`` and so on.
        meta: the other contents of ``gallery.json``.

    Returns:
        The generation.
    """
    old = generation_of(folder)
    # A folder that was removed and created again must not be taken for the previous one.
    generation = old + 1 if old >= 0 else secrets.randbelow(2**48)
    try:
        write(generation)
        for file, number in _numbered(folder):
            if number == generation:
                sync(file)
    except BaseException:
        for file, number in _numbered(folder):
            if number == generation:  # useless, and the disk may be full
                file.unlink()
        raise
    # Up to here the folder still holds the previous gallery.
    with written_atomically(folder / META) as temporary:
        temporary.write_text(json.dumps(meta | {"generation": generation}, indent=2) + "\n")
    return generation


def remove_other_generations(folder: Path, generation: int) -> None:
    """Remove the files of all generations but this one, in a folder that is still locked."""
    for file, number in _numbered(folder):
        if number != generation:  # including those of a process that was killed
            file.unlink()
    for file in folder.glob(f".{META}.*.tmp"):  # only killed processes leave these: other writers wait for this one
        file.unlink()


def _numbered(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files of a gallery, each with its generation."""
    for file in sorted(folder.iterdir()):
        if name := _NUMBERED.fullmatch(file.name):
            yield file, int(name[1])
