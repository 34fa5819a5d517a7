"""Where images come from: a folder, a CSV file, a list, one image, or a registered dataset."""

import argparse
import os
from collections.abc import Iterable

import numpy as np
from fastreid.config import CfgNode

from ..data.datasets import load_dataset
from ..data.datasets.csv_table import read_table
from ..data.datasets.listing import check_files_exist, images_below, listed_lines
from ..data.images import IMAGE_SUFFIXES
from ..errors import InputError
from ..evaluation import Records

__all__ = ["SPLITS", "add_source_argument", "dataset_records", "image_records"]

SPLITS = ("query", "gallery", "train")

Item = tuple[str, int | str, int | str]  # path, identity, camera


def add_source_argument(parser: argparse.ArgumentParser) -> None:
    """Add SOURCE, which ``image_records`` reads; it may be left out."""
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="folder, .csv with the column path (and identity, camera), .txt with one path per line, or image; paths "
        "in a file are relative to its folder",
    )


def image_records(source: str | os.PathLike) -> Records:
    """The images that a command line names, each once, with identity and camera as texts, "" if not known.

    Args:
        source: one of
            a folder: all images below it in natural order, hidden files and folders left out;
            a .csv with a header: the columns path and, if there, identity and camera;
            a .txt with one path per line;
            an image.
            Paths in a file are relative to its folder; those in a CSV must not leave it.

    Raises:
        InputError: no such source, no image in it, images that do not exist, or an image with two identities or
            cameras.
    """
    source = os.fspath(source)
    suffix = os.path.splitext(source)[1].lower()
    if os.path.isdir(source):
        return _records(((path, "", "") for path in images_below(source)), f"folder {source!r}")
    if not os.path.isfile(source):
        raise InputError(f"{source!r} not found; give a folder, a .csv, a .txt list of paths or an image")
    if suffix in IMAGE_SUFFIXES:
        return _records([(source, "", "")], repr(source))
    if suffix not in (".csv", ".txt"):
        raise InputError(
            f"{source!r} is neither a folder, nor a .csv, nor a .txt list of paths, nor an image "
            f"({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    items = list(_csv_items(source) if suffix == ".csv" else _listed_items(source))
    check_files_exist((os.path.abspath(path) for path, *_ in items), repr(source))
    return _records(items, repr(source))


def dataset_records(name: str, split: str, cfg: CfgNode) -> Records:
    """The images of a registered dataset, with identities and cameras as the dataset numbers or names them.

    Args:
        name: of the dataset, which lies below FASTREID_DATASETS.
        split: query | gallery | train.
        cfg: with the dataset's options, such as DATASETS.CSV.

    Raises:
        InputError: no such dataset or split, no images, or images that do not exist.
    """
    if split not in SPLITS:
        raise InputError(f"--split is {split!r}; choose one of {', '.join(SPLITS)}")
    dataset = load_dataset(name, cfg)
    items = [tuple(item) for item in getattr(dataset, split)]
    check_files_exist((os.path.abspath(path) for path, *_ in items), f"dataset {name}")
    return _records(items, f"{split} of dataset {name}")


def _csv_items(source: str) -> Iterable[Item]:
    home = os.path.dirname(source) or "."
    for path, values, _ in read_table(source, home, "", ("path",), optional="identity, camera"):
        yield path, values.get("identity", ""), values.get("camera", "")


def _listed_items(source: str) -> Iterable[Item]:
    home = os.path.dirname(source)
    for _, line in listed_lines(source, cure="save it as text in UTF-8, one path per line"):
        yield os.path.normpath(os.path.join(home, line)), "", ""


def _records(items: Iterable[Item], source: str) -> Records:
    first: dict[str, Item] = {}
    for item in items:
        before = first.setdefault(os.path.abspath(item[0]), item)  # a list may name one file in two ways
        if before[1:] != item[1:]:
            raise InputError(f"{source} gives {item[0]!r} two identities or cameras: {before[1:]} and {item[1:]}")
    if not first:
        raise InputError(f"{source} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return Records(*map(np.asarray, zip(*first.values(), strict=True)))
