"""The metadata of gallery items: path, identity and camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError

__all__ = ["UNKNOWN", "RecordStore", "Records", "known"]

_COLUMNS = ("paths", "identities", "cameras")
# The values that mean an unknown identity or camera.
UNKNOWN = (-1, "")


@dataclass(frozen=True)
class Records:
    """Path, identity and camera of n items. An unknown identity or camera is -1, or "" in columns of text.

    Raises:
        InputError: lengths that differ, or values that are neither integers nor text.
    """

    paths: np.ndarray  # (n,) text
    identities: np.ndarray  # (n,) integers or text
    cameras: np.ndarray  # (n,) integers or text

    def __post_init__(self):
        for name in _COLUMNS:
            column = np.asarray(getattr(self, name))
            if column.ndim != 1 or (column.size and column.dtype.kind not in "iuU"):
                raise InputError(f"{name} must be integers or text, one per item, not {column.dtype} {column.shape}")
            object.__setattr__(self, name, column)
        if not len(self.paths) == len(self.identities) == len(self.cameras):
            raise InputError(
                f"{len(self.paths)} paths, {len(self.identities)} identities and {len(self.cameras)} cameras: "
                "give one of each per item"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | np.ndarray) -> "Records":
        """The records of some items, in the order of ``rows``."""
        return Records(self.paths[rows], self.identities[rows], self.cameras[rows])


def known(value: int | str) -> int | str | None:
    """An identity or a camera, or None if it is unknown."""
    return None if value in UNKNOWN else value


class RecordStore:
    """Many records by id, stored as plain columns (text as UTF-8) that can stay on disk until they are read."""

    def __init__(self):
        self.ids = np.empty(0, dtype=np.int64)  # ascending
        self._columns = {name: np.empty(0, dtype="S1") for name in _COLUMNS}
        self._values: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # cache by column, dropped on a change

    def __len__(self) -> int:
        return len(self.ids)

    def append(self, ids: np.ndarray, records: Records) -> None:
        """Add records under ids that are ascending and above all existing ones."""
        if len(ids) == 0:  # empty columns may have any dtype
            return
        new = {name: _encoded(getattr(records, name)) for name in _COLUMNS}
        for name, column in self._columns.items():
            if len(self) and column.dtype.kind != new[name].dtype.kind:
                raise InputError(f"{name} of this gallery and of the new items are not both text or both integers")
        if len(self):
            new = {name: np.concatenate([self._columns[name], new[name]]) for name in _COLUMNS}
        self._columns = new
        self.ids, self._values = np.concatenate([self.ids, ids]), {}

    def rows(self, ids) -> np.ndarray:
        """The row numbers of these ids.

        Raises:
            InputError: an id that does not exist.
        """
        ids = np.asarray(ids, dtype=np.int64)
        rows = np.searchsorted(self.ids, ids)
        found = rows < len(self.ids)
        found[found] = self.ids[rows[found]] == ids[found]
        if not found.all():
            raise InputError(f"{np.count_nonzero(~found)} ids are not in the gallery, the first {ids[~found][0]}")
        return rows

    def take(self, ids) -> Records:
        """The records of some ids, in their order."""
        rows = self.rows(ids)
        return Records(*(_decoded(self._columns[name][rows]) for name in _COLUMNS))

    def values(self, name: str) -> np.ndarray:
        """The distinct values of a column, as strings."""
        return self._values_and_places(name)[0]

    def is_among(self, name: str, texts: Sequence[str], rows=slice(None)) -> np.ndarray:
        """Whether the value of a column, as a string, is one of ``texts``, for all rows or for some."""
        values, places = self._values_and_places(name)
        return np.isin(values, texts)[places[rows]]

    def _values_and_places(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The distinct values, and each row's index into them: strings are compared once per value, not per row."""
        if name not in self._values:
            values, places = np.unique(self._columns[name], return_inverse=True)
            self._values[name] = _decoded(values).astype(str), places
        return self._values[name]

    def drop(self, ids) -> None:
        """Remove some ids."""
        kept = np.ones(len(self), dtype=bool)
        kept[self.rows(ids)] = False
        self.ids, self._values = self.ids[kept], {}
        self._columns = {name: column[kept] for name, column in self._columns.items()}

    def save(self, folder: Path, suffix: str) -> None:
        for name, column in {"ids": self.ids, **self._columns}.items():
            np.save(folder / f"{name}-{suffix}.npy", column)

    @classmethod
    def open(cls, folder: Path, suffix: str) -> "RecordStore":
        store = cls()
        load = {name: np.load(folder / f"{name}-{suffix}.npy", mmap_mode="r") for name in ("ids", *_COLUMNS)}
        store.ids, store._columns = load.pop("ids"), load
        for name, column in load.items():
            if len(column) != len(store):
                raise InputError(f"the records of the gallery are damaged: {len(column)} {name}, {len(store)} ids")
        return store


def _encoded(column: np.ndarray) -> np.ndarray:
    # A file name that is not UTF-8 contains surrogates.
    return np.char.encode(column, "utf-8", "surrogateescape") if column.dtype.kind == "U" else column.astype(np.int64)


def _decoded(column: np.ndarray) -> np.ndarray:
    return np.char.decode(column, "utf-8", "surrogateescape") if column.dtype.kind == "S" else np.asarray(column)
