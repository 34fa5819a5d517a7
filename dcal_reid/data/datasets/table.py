"""Datasets given as a table of path, identity, camera and split: the common part of ``CSVReID`` and ``FolderReID``."""

import functools
import logging
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset

from ...errors import InputError
from ...text import first_few, natural_key
from .listing import check_files_exist

__all__ = ["Row", "TableReID", "below_root", "own_keys", "own_path", "rows_with"]

logger = logging.getLogger(__name__)

_Row = TypeVar("_Row")


class Row(NamedTuple):
    """One image of a dataset. ``camera`` is None if cameras are unknown."""

    path: str
    identity: str
    camera: str | None
    split: str
    where: str  # for messages, for instance "line 7"


class TableReID(ImageDataset):
    """A dataset made from rows.

    Identities and cameras may be any strings; they are numbered in natural order over the whole table, and
    ``identity_names[pid]`` and ``camera_names[camid]`` are the original strings. Training, query and gallery images are
    selected on first access, so a table without queries can be used for training.

    Without cameras, every image gets a camera number of its own. The usual protocol, which removes gallery items of the
    query's identity and camera, then removes only the query image itself.

    Args:
        rows: the table.
        source: its name in messages.
        keys: cfg.DATASETS.CSV or cfg.DATASETS.FOLDER: TRAIN_SPLITS, QUERY_SPLITS, GALLERY_SPLITS, QUERY_CAMERAS,
            GALLERY_CAMERAS.
        key_name: the name of ``keys`` in the config.

    Raises:
        InputError: an empty table; a path with two identities or two cameras, or twice in one split; cameras known for
            only some images. On first access to a list: a split or camera that is not in the table, missing files.
    """

    # An identity has the same number in train, query and gallery.
    pids_are_global = True

    def __init__(self, rows: Iterable[Row], source: str, keys: CfgNode, key_name: str):
        super().__init__([], [], [])
        self.rows = list(rows)
        self.source = source
        self.key_name = key_name
        if not self.rows:
            raise InputError(f"{source} holds no images")
        self._resolve = functools.cache(os.path.realpath)
        self._check_rows()
        self.has_cameras = self.rows[0].camera is not None
        self.identity_names = sorted({row.identity for row in self.rows}, key=natural_key)
        self._pids = {name: number for number, name in enumerate(self.identity_names)}
        self.camera_names = sorted({self._camera(row) for row in self.rows}, key=natural_key)
        self._camids = {name: number for number, name in enumerate(self.camera_names)}
        if not self.has_cameras:
            logger.info("%s has no cameras: only the query image itself is removed from a query's gallery.", source)
        # fast-reid's Dataset calls a callable here when the list is first used.
        self._train = lambda: [
            (path, f"{self.dataset_name}_{pid}", f"{self.dataset_name}_{camid}")
            for path, pid, camid in self._select("TRAIN", keys.TRAIN_SPLITS, ())
        ]
        self._query = lambda: self._select("QUERY", keys.QUERY_SPLITS, keys.QUERY_CAMERAS)
        self._gallery = lambda: self._select("GALLERY", keys.GALLERY_SPLITS, keys.GALLERY_CAMERAS)

    def _camera(self, row: Row) -> str:
        return self._file(row) if row.camera is None else row.camera

    def _file(self, row: Row) -> str:
        """An identifier of the file that is the same for every spelling of its path, including linked folders."""
        folder, name = os.path.split(row.path)
        return os.path.join(self._resolve(folder), name)

    def _check_rows(self) -> None:
        without = [row for row in self.rows if row.camera is None]
        if without and len(without) < len(self.rows):
            raise InputError(
                f"{self.source} has no camera for {len(without)} of {len(self.rows)} images, the first at "
                f"{without[0].where}; give a camera for every image or for none"
            )
        seen: dict[str, Row] = {}
        listed: dict[tuple[str, str], Row] = {}
        for row in self.rows:
            first = seen.setdefault(self._file(row), row)
            for what in ("identity", "camera"):
                if getattr(row, what) != getattr(first, what):
                    raise InputError(
                        f"{self.source} gives {row.path!r} the {what} {getattr(first, what)!r} ({first.where}) and "
                        f"{getattr(row, what)!r} ({row.where})"
                    )
            twin = listed.setdefault((self._file(row), row.split), row)
            if twin is not row:
                raise InputError(f"{self.source} lists {row.path!r} twice in {row.split!r}: {twin.where}, {row.where}")

    def _select(self, subset: str, splits: Iterable, cameras: Iterable) -> list[tuple[str, int, int]]:
        key = f"{self.key_name}.{subset}"
        chosen = rows_with(self.rows, splits, lambda row: row.split, f"{key}_SPLITS", self.source)
        if tuple(cameras):
            if not self.has_cameras:
                raise InputError(f"{key}_CAMERAS is {tuple(cameras)}, but {self.source} has no cameras")
            among = f" among the images of {subset}_SPLITS {tuple(splits)}"
            chosen = rows_with(chosen, cameras, lambda row: row.camera, f"{key}_CAMERAS", self.source, among)
        images = {self._file(row): row for row in chosen}.values()  # an image in two of these splits counts once
        check_files_exist([row.path for row in images], self.source)
        return [(row.path, self._pids[row.identity], self._camids[self._camera(row)]) for row in images]


def rows_with(
    rows: list[_Row], wanted: Iterable, value_of: Callable[[_Row], str], key: str, source: str, among: str = ""
) -> list[_Row]:
    """The rows with one of the values that the config's ``key`` lists as ``wanted``.

    Raises:
        InputError: a wanted value that no row has.
    """
    wanted = [str(value) for value in wanted]
    found = sorted({value_of(row) for row in rows}, key=natural_key)
    unknown = [value for value in wanted if value not in found]
    if unknown:
        raise InputError(
            f"{key} asks for {', '.join(map(repr, unknown))}, which {source} does not have{among}; choose among "
            f"{first_few(map(repr, found), 10)}"
        )
    return [row for row in rows if value_of(row) in wanted]


def own_keys(dataset: str, cfg: CfgNode | None, key: str) -> CfgNode:
    """``cfg.DATASETS[key]``, which says where the user's own data are and how they are split.

    Raises:
        InputError: there is no config: fast-reid's loaders do not pass it on.
    """
    if cfg is None:
        for_test = "build_classification_test_loader" if key.startswith("CLASS_") else "build_test_loader"
        raise InputError(
            f"dataset {dataset} is described by DATASETS.{key} of the configuration, which fast-reid's own loaders do "
            f"not pass on; use dcal_reid.data.build_train_loader(cfg) and {for_test}(cfg, name)"
        )
    return cfg.DATASETS[key]


def own_path(dataset: str, path: str, key_name: str, root: str, kind: str) -> str:
    """The path of the user's own data, from ``key_name``.PATH of the config.

    Args:
        dataset: its name in messages.
        path: the value of ``key_name``.PATH.
        key_name: for instance DATASETS.CSV.
        root: FASTREID_DATASETS.
        kind: "folder" | "CSV file".

    Raises:
        InputError: no path, or no such file or folder.
    """
    if not path:
        raise InputError(f"dataset {dataset}: {key_name}.PATH is empty; give the path of the {kind}")
    path = below_root(path, root)
    if not (os.path.isdir(path) if kind == "folder" else os.path.isfile(path)):
        wrong = f"is not a {kind}" if os.path.exists(path) else "not found"
        raise InputError(
            f"dataset {dataset}: {path!r} {wrong}; {key_name}.PATH is relative to FASTREID_DATASETS "
            "(datasets/README.md has an example)"
        )
    return path


def below_root(path: str, root: str) -> str:
    """``path`` of the config, below FASTREID_DATASETS unless it is absolute."""
    return os.path.join(root, os.path.expanduser(path))
