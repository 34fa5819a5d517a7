"""Datasets for classification with one folder per class."""

import os

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from ...errors import InputError
from .classification import ClassificationDataset, home_folder
from .listing import folder_names, image_names, natural_key, warn_of_loose_images
from .table import own_path

__all__ = ["DemoFGVC", "ImageFolderFGVC"]


class _ClassFolders(ClassificationDataset):
    """Images at ``path/<train or test>/<class>/<image>``, classes in natural order.

    Raises:
        InputError: see ``ClassificationDataset``; also a missing folder.
    """

    def __init__(self, path: str, train: str, test: str):
        subsets = [os.path.join(path, name) for name in (train, test)]
        warn_of_loose_images(subsets, "a class")
        classes_in = {folder: set(folder_names(folder)) for folder in subsets}
        class_names = sorted(set().union(*classes_in.values()), key=natural_key)
        images = (
            [
                (os.path.join(folder, name, image), label)
                for label, name in enumerate(class_names)
                if name in classes_in[folder]
                for image in image_names(os.path.join(folder, name))
            ]
            for folder in subsets
        )
        super().__init__(*images, class_names, repr(path))


@DATASET_REGISTRY.register()
class ImageFolderFGVC(_ClassFolders):
    """Images at ``DATASETS.CLASS_FOLDER.PATH/<TRAIN_FOLDER or TEST_FOLDER>/<class>/<image>``.

    Raises:
        InputError: see ``ClassificationDataset``; also a missing folder.
    """

    dataset_name = "folder_fgvc"

    def __init__(self, root: str = "datasets", *, cfg: CfgNode, **kwargs):
        keys = cfg.DATASETS.CLASS_FOLDER
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
