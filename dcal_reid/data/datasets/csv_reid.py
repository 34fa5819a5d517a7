"""A dataset described by a CSV file."""

import csv
import os
from collections.abc import Iterator

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from ...errors import InputError
from .table import Row, TableReID, below_root

__all__ = ["CSVReID"]

_REQUIRED = ("path", "identity", "split")


@DATASET_REGISTRY.register()
class CSVReID(TableReID):
    """Images listed in the file DATASETS.CSV.PATH: a header line with path, identity, split and, if known, camera.

    Other columns are ignored. Paths are relative to DATASETS.CSV.IMAGE_ROOT, or to the folder of the file.

    Raises:
        InputError: see ``TableReID``; also a missing file or column, a line with an empty field or with too many or too
            few, and a path that leaves IMAGE_ROOT. Messages count lines from 1, the header.
    """

    dataset_name = "csv"

    def __init__(self, root: str = "datasets", *, cfg: CfgNode, **kwargs):
        keys = cfg.DATASETS.CSV
        if not keys.PATH:
            raise InputError("dataset CSVReID: DATASETS.CSV.PATH is empty; give the path of the CSV file")
        path = below_root(keys.PATH, root)
        if not os.path.isfile(path):
            raise InputError(
                f"dataset CSVReID: {path!r} not found; DATASETS.CSV.PATH is relative to FASTREID_DATASETS "
                "(datasets/README.md has an example)"
            )
        image_root = below_root(keys.IMAGE_ROOT, root) if keys.IMAGE_ROOT else os.path.dirname(path)
        super().__init__(_read_rows(path, image_root), repr(path), keys, "DATASETS.CSV")


def _read_rows(path: str, image_root: str) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets begin the file with a BOM
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in _REQUIRED if name not in header]
            if missing:
                raise InputError(
                    f"{path!r} has no column {', '.join(missing)}; its columns are {', '.join(header) or 'none'}, and "
                    "path, identity, split (and camera, if known) are read, separated by commas"
                )
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield _row(path, reader.line_num, header, fields, image_root)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path!r} line {reader.line_num}: {error}; save it as CSV in UTF-8") from error


def _row(path: str, line: int, header: list[str], fields: list[str], image_root: str) -> Row:
    if len(fields) != len(header):
        raise InputError(f"{path!r} line {line} has {len(fields)} fields, the header {len(header)}")
    values = dict(zip(header, (field.strip() for field in fields), strict=True))
    for name in _REQUIRED:
        if not values[name]:
            raise InputError(f"{path!r} line {line} has no {name}")
    image = os.path.normpath(os.path.join(image_root, values["path"]))
    if os.path.commonpath([os.path.abspath(image), os.path.abspath(image_root)]) != os.path.abspath(image_root):
        raise InputError(f"{path!r} line {line}: path {values['path']!r} leaves DATASETS.CSV.IMAGE_ROOT {image_root!r}")
    return Row(image, values["identity"], values.get("camera") or None, values["split"], f"line {line}")
