"""A dataset with one folder per identity."""

import os
import re
from collections.abc import Iterator

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from ...errors import InputError
from ...text import first_few
from .listing import folder_names, grouped_images, warn_of_left_out
from .table import Row, TableReID, own_keys, own_path

__all__ = ["FolderReID"]


@DATASET_REGISTRY.register()
class FolderReID(TableReID):
    """Images at ``DATASETS.FOLDER.PATH/<split>/<identity>/<image>``.

    The camera is the first group of DATASETS.FOLDER.CAMERA_PATTERN, searched for in the file name. Folders of the same
    name in two splits are the same identity.

    Raises:
        InputError: see ``TableReID``; also a missing folder, a pattern that is not a regular expression with a group,
            and file names that it does not match.
    """

    dataset_name = "folder"

    def __init__(self, root: str = "datasets", *, cfg: CfgNode | None = None, **kwargs):
        keys = own_keys("FolderReID", cfg, "FOLDER")
        path = own_path("FolderReID", keys.PATH, "DATASETS.FOLDER", root, "folder")
        used = {str(split) for key in ("TRAIN", "QUERY", "GALLERY") for split in keys[f"{key}_SPLITS"]}
        super().__init__(_read_rows(path, keys.CAMERA_PATTERN, used), repr(path), keys, "DATASETS.FOLDER")


def _read_rows(path: str, camera_pattern: str, used: set[str]) -> Iterator[Row]:
    """The images of all splits. In folders that are not ``used`` as a split, images without a camera are left out."""
    camera_of = _compile(camera_pattern) if camera_pattern else None
    some, empty, unmatched = False, [], []
    splits = [os.path.join(path, split) for split in folder_names(path)]
    for folder, identity, names in grouped_images(splits, "an identity"):
        split = os.path.basename(folder)
        if names:
            some = True
        else:
            empty.append(os.path.join(folder, identity))
        for name in names:
            image = os.path.join(folder, identity, name)
            match = camera_of.search(name) if camera_of else None
            if not camera_of or (match and match[1]):
                yield Row(image, identity, match[1] if match else None, split, image)
            elif split in used:
                unmatched.append(image)
    if not some:
        raise InputError(
            f"{path!r} holds no images in folders <split>/<identity>/, such as train/rex/; see the layout in "
            "datasets/README.md"
        )
    warn_of_left_out(empty, "folders have no images directly in them")
    if unmatched:
        raise InputError(
            f"DATASETS.FOLDER.CAMERA_PATTERN {camera_pattern!r} finds no camera in {len(unmatched)} file names: "
            f"{first_few(unmatched)}"
        )


def _compile(pattern: str) -> re.Pattern:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"DATASETS.FOLDER.CAMERA_PATTERN {pattern!r} is not a regular expression: {error}") from error
    if not compiled.groups:
        raise InputError(
            f"DATASETS.FOLDER.CAMERA_PATTERN {pattern!r} has no group; put the camera in brackets: c(\\d+)"
        )
    return compiled
