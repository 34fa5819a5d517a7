"""Folders of generated images: written once, completely or not at all, and never over a user's own files."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from ..errors import InputError

__all__ = ["check_at_least", "write_once"]

STAMP = "demo.json"


def check_at_least(least: Mapping[str, int], values: Mapping[str, int]) -> None:
    """Refuse settings of a generated dataset that are too small.

    Raises:
        InputError: a value is below the minimum of the same name in ``least``.
    """
    for name, value in values.items():
        if value < least[name]:
            raise InputError(f"{name} of the demo dataset is {value}; it must be at least {least[name]}")


def write_once(folder: Path, stamp: Mapping[str, int], images: Iterable[tuple[str, Image.Image]]) -> Path:
    """Write ``images`` into ``folder`` unless a folder with the same stamp is already there.

    The folder appears complete or not at all, even if several processes call this at once. A generated dataset
    with another stamp is replaced.

    Args:
        folder: the dataset's folder; its parents are created.
        stamp: everything that determines the images, including a ``version``; stored in the folder as JSON.
        images: (path inside the folder, image). Not consumed if nothing has to be written.

    Returns:
        The folder.

    Raises:
        InputError: ``folder`` holds something other than a generated dataset.
    """
    exists, found = folder.exists(), _read_stamp(folder)
    if found == stamp:
        return folder
    if exists and found is None:
        raise InputError(f"{str(folder)!r} exists and is not a generated dataset; move it away or choose another root")

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary) / "new"
        for name, image in images:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(new / name, quality=90)
        (new / STAMP).write_text(json.dumps(stamp, indent=2) + "\n")
        try:
            if exists and _read_stamp(folder) == found:
                os.replace(folder, Path(temporary) / "old")
            os.replace(new, folder)
        except OSError:  # another process was first
            if _read_stamp(folder) != stamp:
                raise
    return folder


def _read_stamp(folder: Path) -> dict | None:
    """The stamp of a folder; None if it is not one of ours, all of which have a version."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and "version" in stamp else None
