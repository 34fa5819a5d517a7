"""CUB-200-2011, Stanford Cars and FGVC-Aircraft, in their official layouts."""

import logging
import os
import re

from fastreid.data.datasets import DATASET_REGISTRY
from torchvision import datasets as torchvision_datasets

from ...errors import InputError
from ..images import IMAGE_SUFFIXES
from .classification import ClassificationDataset, home_folder
from .csv_table import path_inside
from .listing import listed_lines

__all__ = ["CUB200", "FGVCAircraft", "StanfordCars"]

logger = logging.getLogger(__name__)

Images = list[tuple[str, int]]


@DATASET_REGISTRY.register()
class CUB200(ClassificationDataset):
    """CUB-200-2011 (Wah et al., 2011). Classes are in the order of their numbers, which need not be consecutive.

    Raises:
        InputError: see ``ClassificationDataset``; also, with file and line, any deviation from the format of the
            official files, and an image or a class that is in one file but not in another.
    """

    dataset_name = "cub200"
    home = "CUB_200_2011"
    official = {"train": 5994, "test": 5794}
    official_classes = 200

    def __init__(self, root: str = "datasets", **kwargs):
        home = home_folder("CUB200", root, self.home)
        classes = _Listing(home, "classes.txt", r"\S+", "<class> <name>")
        images = _Listing(home, "images.txt", r"\S+", "<image> <path>")
        classes_of = _Listing(home, "image_class_labels.txt", r"[0-9]{1,9}", "<image> <class>")
        splits = _Listing(home, "train_test_split.txt", r"[01]", "<image> <1 for train, 0 for test>")
        for other in (classes_of, splits):
            _check_same_images(images, other)
        _warn_of_other_folders(images, classes_of, classes)

        numbers = sorted(classes.values)
        label_of = {number: label for label, number in enumerate(numbers)}
        subsets: dict[str, Images] = {"1": [], "0": []}
        for image in images.values:
            number = int(classes_of.values[image])
            if number not in label_of:
                raise InputError(f"{classes_of.where(image)}: class {number} is not in {classes.path!r}")
            subsets[splits.values[image]].append((_image_path(images, image, home), label_of[number]))
        names = [re.sub(r"^\d+\.(?=.)", "", classes.values[number]).replace("_", " ") for number in numbers]
        super().__init__(subsets["1"], subsets["0"], names, repr(home))


class _Listing:
    """A text file of CUB or FGVC-Aircraft with a number, a blank and a value on each line.

    ``values[number]`` is the value and ``lines[number]`` its line.
    """

    def __init__(self, home: str, name: str, value: str, form: str):
        self.path = os.path.join(home, name)
        self.values: dict[int, str] = {}
        self.lines: dict[int, int] = {}
        pattern = re.compile(rf"([0-9]{{1,9}})\s+({value})")
        try:
            with open(self.path, "rb") as file:
                for line, content in enumerate(file, 1):
                    if content.strip():
                        self._add(line, content, pattern, form)
        except OSError as error:
            raise InputError(
                f"{self.path!r} cannot be read: {error.strerror}; datasets/README.md shows the layout"
            ) from error

    def _add(self, line: int, content: bytes, pattern: re.Pattern, form: str) -> None:
        try:
            text = content.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path!r} line {line} is not in UTF-8: {error.reason}") from error
        match = pattern.fullmatch(text)
        if not match:
            raise InputError(f"{self.path!r} line {line}: {text[:100]!r} is not of the form {form}")
        number = int(match[1])
        if number in self.values:
            raise InputError(f"{self.path!r} line {line}: number {number} is already in line {self.lines[number]}")
        self.values[number], self.lines[number] = match[2], line

    def where(self, number: int) -> str:
        return f"{self.path!r} line {self.lines[number]}"


def _check_same_images(one: _Listing, other: _Listing) -> None:
    for has, lacks in ((one, other), (other, one)):
        missing = [image for image in has.values if image not in lacks.values]
        if missing:
            raise InputError(
                f"{has.where(missing[0])}: image {missing[0]} is not in {lacks.path!r} (in all {len(missing)} images "
                "are not); the two files must list the same images"
            )


def _warn_of_other_folders(images: _Listing, classes_of: _Listing, classes: _Listing) -> None:
    """Warn if folders and labels disagree: a shifted list of labels passes all other checks."""
    names = {image: classes.values.get(int(number)) for image, number in classes_of.values.items()}
    moved = [image for image, path in images.values.items() if os.path.dirname(path) != names[image]]
    if moved:
        logger.warning(
            "%s: image %d is of class %s, its folder has another name (in all %d images); check the labels.",
            *(classes_of.where(moved[0]), moved[0], names[moved[0]], len(moved)),
        )


def _image_path(images: _Listing, image: int, home: str) -> str:
    name = images.values[image]
    path = path_inside(os.path.join(home, "images"), name)
    if path is None:
        raise InputError(f"{images.where(image)}: path {name!r} is outside the folder images")
    if os.path.splitext(path)[1].lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{images.where(image)}: {name!r} is not an image file ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return path


@DATASET_REGISTRY.register()
class StanfordCars(ClassificationDataset):
    """Stanford Cars (Krause et al., ICCVW 2013), read by torchvision.

    Raises:
        InputError: see ``ClassificationDataset``; also any error of torchvision.
    """

    dataset_name = "stanford_cars"
    home = "stanford_cars"
    # Paths below ``home`` that torchvision requires but does not name in its errors.
    files = ("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_train", "cars_test")
    official = {"train": 8144, "test": 8041}
    official_classes = 196

    def __init__(self, root: str = "datasets", **kwargs):
        home = home_folder("StanfordCars", root, self.home)
        try:
            # torchvision has no public list of images.
            train, test = (torchvision_datasets.StanfordCars(root, split) for split in ("train", "test"))
            images = [[(path, int(label)) for path, label in split._samples] for split in (train, test)]
            names = [str(name) for name in train.classes]
        except Exception as error:  # a damaged file can raise any exception in torchvision, scipy or numpy
            message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            missing = [file for file in self.files if not os.path.exists(os.path.join(home, file))]
            there_is_no = f"there is no {', '.join(missing)} in it; " if missing else ""
            raise InputError(
                f"dataset StanfordCars: torchvision cannot read {home!r} ({message}); {there_is_no}compare it with the "
                "layout in datasets/README.md"
            ) from error
        super().__init__(*images, names, repr(home))


@DATASET_REGISTRY.register()
class FGVCAircraft(ClassificationDataset):
    """FGVC-Aircraft (Maji et al., 2013), its 100 variants. The banner at the bottom of an image names its author.

    Raises:
        InputError: see ``ClassificationDataset``; also, with file and line, any deviation from the format of the
            official files, and a variant that is not in the list of variants.
    """

    dataset_name = "fgvc_aircraft"
    home = "fgvc-aircraft-2013b"
    official = {"train": 6667, "test": 3333}
    official_classes = 100
    banner = 20

    def __init__(self, root: str = "datasets", **kwargs):
        home = home_folder("FGVCAircraft", root, self.home)
        data = os.path.join(home, "data")
        variants = os.path.join(data, "variants.txt")
        names = [name for _, name in listed_lines(variants)]
        label_of = {name: label for label, name in enumerate(names)}
        subsets: list[Images] = []
        for split in ("trainval", "test"):
            listing = _Listing(data, f"images_variant_{split}.txt", r".+", "<image> <variant>")
            unknown = [image for image, name in listing.values.items() if name not in label_of]
            if unknown:
                raise InputError(f"{listing.where(unknown[0])}: {listing.values[unknown[0]]!r} is not in {variants!r}")
            subsets.append(
                [
                    (os.path.join(data, "images", f"{image:07d}.jpg"), label_of[name])
                    for image, name in listing.values.items()
                ]
            )
        super().__init__(*subsets, names, repr(home))
