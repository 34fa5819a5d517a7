"""Datasets for classification with one folder per class."""

import os

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from ...errors import InputError
from ...text import natural_key
from .classification import ClassificationDataset, home_folder
from .listing import grouped_images
from .table import own_keys, own_path

__all__ = ["DemoFGVC", "ImageFolderFGVC"]


class _ClassFolders(ClassificationDataset):
    """Images at ``path/<train or test>/<class>/<image>``, with classes in natural order.

    Raises:
        InputError: see ``ClassificationDataset``; also a missing folder.
    """

    def __init__(self, path: str, train: str, test: str):
        subsets = [os.path.join(path, name) for name in (train, test)]
        groups = list(grouped_images(dict.fromkeys(subsets), "a class"))
        class_names = sorted({name for _, name, _ in groups}, key=natural_key)
        label_of = {name: label for label, name in enumerate(class_names)}
        images = (
            [
                (os.path.join(folder, name, image), label_of[name])
                for folder, name, names in groups
                if folder == subset
                for image in names
            ]
            for subset in subsets
        )
        super().__init__(*images, class_names, repr(path))


@DATASET_REGISTRY.register()
class ImageFolderFGVC(_ClassFolders):
    """Images at ``DATASETS.CLASS_FOLDER.PATH/<TRAIN_FOLDER or TEST_FOLDER>/<class>/<image>``.

    Raises:
        InputError: see ``ClassificationDataset``; also a missing folder.
    """

    dataset_name = "folder_fgvc"

    def __init__(self, root: str = "datasets", *, cfg: CfgNode | None = None, **kwargs):
        keys = own_keys("ImageFolderFGVC", cfg, "CLASS_FOLDER")
        path = own_path("ImageFolderFGVC", keys.PATH, "DATASETS.CLASS_FOLDER", root, "folder")
        for key in ("TRAIN_FOLDER", "TEST_FOLDER"):
            folder = os.path.join(path, keys[key])
            if not os.path.isdir(folder):
                raise InputError(
                    f"folder {folder!r}, which DATASETS.CLASS_FOLDER.{key} names, not found; see the layout in "
                    "datasets/README.md"
                )
        super().__init__(path, keys.TRAIN_FOLDER, keys.TEST_FOLDER)


@DATASET_REGISTRY.register()
class DemoFGVC(_ClassFolders):
    """The generated dataset of the demo: ``demo-fgvc/train/<class>/`` and ``demo-fgvc/val/<class>/``."""

    dataset_name = "demo_fgvc"

    def __init__(self, root: str = "datasets", **kwargs):
        super().__init__(home_folder("DemoFGVC", root, "demo-fgvc"), "train", "val")
