"""The common part of datasets described by a CSV file: finding the file and reading its lines."""

import csv
import os
from collections.abc import Iterator
from typing import NamedTuple

from fastreid.config import CfgNode

from ...errors import InputError
from .table import below_root, own_path

__all__ = ["Line", "find_table", "path_inside", "read_table"]


class Line(NamedTuple):
    """One line of the file: one image."""

    image: str
    values: dict[str, str]  # the text in each column
    where: str  # for messages, for instance "line 7"


def find_table(dataset: str, keys: CfgNode, key_name: str, root: str) -> tuple[str, str]:
    """The CSV file that ``keys.PATH`` names, and the folder that the paths in it are relative to.

    Raises:
        InputError: no path, or no file there.
    """
    path = own_path(dataset, keys.PATH, key_name, root, "CSV file")
    return path, below_root(keys.IMAGE_ROOT, root) if keys.IMAGE_ROOT else os.path.dirname(path)


def read_table(
    path: str, image_root: str, key_name: str, required: tuple[str, ...], optional: str = ""
) -> Iterator[Line]:
    """The lines of a CSV file whose header names at least the columns ``required``, which include path.

    Column names are case-insensitive.

    Args:
        key_name: name of the config node whose IMAGE_ROOT is ``image_root``; empty: ``image_root`` is the folder of
            the file.

    Raises:
        InputError: not a CSV file in UTF-8; a missing or duplicate column; a line with an empty required field or with
            too many or too few fields; a path that leaves ``image_root``. Messages count lines from 1, the header.
    """
    left = "the folder of the file"
    if key_name:
        left = f"{key_name}.IMAGE_ROOT {image_root!r}; set that to a folder that contains all images"
    with open(path, encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets write a BOM
        reader = csv.reader(file, strict=True, skipinitialspace=True)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            missing = [name for name in required if name not in header]
            if missing:
                if_known = f" (and {optional}, if known)" if optional else ""
                raise InputError(
                    f"{path!r} has no column {', '.join(missing)}; its columns are {', '.join(header) or 'none'}, but "
                    f"{', '.join(required)}{if_known} are expected, separated by commas"
                )
            double = [name for name in (*required, *optional.split(", ")) if name and header.count(name) > 1]
            if double:
                raise InputError(f"{path!r} has more than one column {', '.join(double)}; keep one of each")
            for fields in reader:
                if any(field.strip() for field in fields):
                    where = f"line {reader.line_num}"
                    values = _values(f"{path!r} {where}", header, fields, required)
                    image = path_inside(image_root, values["path"])
                    if image is None:
                        raise InputError(f"{path!r} {where}: path {values['path']!r} is outside {left}")
                    yield Line(image, values, where)
        except UnicodeDecodeError as error:  # it concerns a chunk of the file, not a line
            raise InputError(f"{path!r}: {error}; save it as CSV in UTF-8") from error
        except csv.Error as error:
            raise InputError(f"{path!r} line {reader.line_num}: {error}; save it as CSV in UTF-8") from error


def _values(where: str, header: list[str], fields: list[str], required: tuple[str, ...]) -> dict[str, str]:
    if len(fields) != len(header):
        raise InputError(f"{where} has {len(fields)} fields, the header {len(header)}")
    values = dict(zip(header, (field.strip() for field in fields), strict=True))
    for name in required:
        if not values[name]:
            raise InputError(f"{where} has no {name}")
    return values


def path_inside(folder: str, path: str) -> str | None:
    """``path`` below ``folder``, or None if it leaves it."""
    joined, home = os.path.normpath(os.path.join(folder, path)), os.path.abspath(folder)
    try:
        return joined if os.path.commonpath([os.path.abspath(joined), home]) == home else None
    except ValueError:  # another drive on Windows
        return None
