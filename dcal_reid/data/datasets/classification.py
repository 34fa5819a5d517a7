"""Fine-grained classification: training and test images of the same classes, in the form that fast-reid expects."""

import functools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence

from fastreid.data.datasets.bases import ImageDataset

from ...errors import InputError
from ...text import first_few
from .listing import check_files_exist

__all__ = ["ClassificationDataset", "home_folder"]

logger = logging.getLogger(__name__)

Item = tuple[str, int, int]


class ClassificationDataset(ImageDataset):
    """Training and test images, each with its class.

    ``train`` and ``test`` are lists of (path, label, 0) with labels 0 ... C-1, and ``class_names[label]`` is the name
    of the class. For fast-reid, which only knows query and gallery, the test images are queries.

    Args:
        train: path and label of each training image.
        test: path and label of each test image.
        class_names: the names of the C classes.
        source: the dataset's name in messages.

    Raises:
        InputError: fewer than two classes; no training or no test images; a label that is not among the classes; a
            class without training images; missing files; an image that is listed twice.
    """

    dataset_name: str
    official: dict[str, int] = {}  # images in train and test
    official_classes: int | None = None
    # Height in pixels of the banner at the bottom of every image, which the loader cuts off.
    banner = 0
    has_cameras = False

    def __init__(
        self,
        train: Iterable[tuple[str, int]],
        test: Iterable[tuple[str, int]],
        class_names: Sequence[str],
        source: str,
    ):
        super().__init__(*([(path, label, 0) for path, label in images] for images in (train, test)), [])
        self.class_names = list(class_names)
        self._check_classes(source)
        check_files_exist((path for path, _, _ in self.train + self.test), source)
        self._check_listed_once(source)

    @property
    def test(self) -> list[Item]:
        return self.query

    def hold_out(self, every: int) -> None:
        """Replace the test images by every ``every``-th training image of each class, removed from ``train``.

        Raises:
            InputError: a class has too few training images to hold one out.
        """
        seen: Counter[int] = Counter()
        train, held_out = [], []
        for item in self.train:
            seen[item[1]] += 1
            (train if seen[item[1]] % every else held_out).append(item)
        few = [name for label, name in enumerate(self.class_names) if seen[label] < every]
        if few:
            raise InputError(
                f"DATASETS.HOLD_OUT is {every}, but {len(few)} of {len(self.class_names)} classes have fewer training "
                f"images: {first_few(map(repr, few))}; set it lower"
            )
        super().__init__(train, held_out, [])
        # Neither part is an official split any more.
        self.official = {}

    def _check_classes(self, source: str) -> None:
        num_classes = len(self.class_names)
        for subset in ("train", "test"):
            if not getattr(self, subset):
                raise InputError(f"{source} has no {subset} images; check how they are chosen")
        if num_classes < 2:
            raise InputError(f"{source} has {num_classes} class; classification needs at least 2")
        for path, label, _ in self.train + self.test:
            if not 0 <= label < num_classes:
                raise InputError(
                    f"{source} gives {path!r} the label {label}, but has the classes 0 to {num_classes - 1} only"
                )
        untrained = self._classes_without(self.train)
        if untrained:
            raise InputError(
                f"{source} has no training image for {len(untrained)} of {num_classes} classes: "
                f"{first_few(map(repr, untrained))}; add some, or remove the class"
            )
        untested = self._classes_without(self.test)
        if untested:
            logger.warning(
                "%s has no test image for %d of %d classes: %s",
                *(source, len(untested), num_classes, first_few(map(repr, untested))),
            )
        if self.official_classes not in (None, num_classes):
            logger.warning("%s has %d classes here, officially %d.", source, num_classes, self.official_classes)

    def _classes_without(self, items: list[Item]) -> list[str]:
        labels = {label for _, label, _ in items}
        return [name for label, name in enumerate(self.class_names) if label not in labels]

    def _check_listed_once(self, source: str) -> None:
        # Folders are resolved to detect a test folder that is a link to the training folder.
        resolve = functools.cache(os.path.realpath)
        listed: dict[tuple[str, str], str] = {}
        for subset, items in (("train", self.train), ("test", self.test)):
            for path, label, _ in items:
                folder, name = os.path.split(path)
                here = f"in {subset} as {self.class_names[label]!r}"
                first = listed.setdefault((resolve(folder), name), here)
                if first is not here:
                    raise InputError(f"{source} lists {path!r} {first} and {here}; list each image once")


def home_folder(dataset: str, root: str, home: str) -> str:
    """The folder ``home`` below ``root``.

    Raises:
        InputError: no such folder.
    """
    path = os.path.join(root, home)
    if not os.path.isdir(path):
        raise InputError(
            f"dataset {dataset}: {path!r} not found; put the dataset there, or set FASTREID_DATASETS to the folder "
            "above it (datasets/README.md shows the layout)"
        )
    return path
