"""The features of a test set with the metadata of each image, in memory and in a file."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import written_atomically

__all__ = ["FeatureSet"]

_VERSION = 1
# NumPy's dtype kinds of the arrays in a file.
_KINDS = {"features": "f", "pids": "i", "camids": "i", "indices": "i", "paths": "U", "num_query": "i"}


@dataclass(frozen=True)
class FeatureSet:
    """Queries and gallery of a test set, in the order of the data set: queries first.

    ``indices`` are positions in the data set. Images that could not be read are missing from them.

    Raises:
        InputError: lengths that differ, indices that are not ascending, or NaN or infinite features.
    """

    features: np.ndarray  # (N, D) float32
    pids: np.ndarray  # (N,) int64
    camids: np.ndarray  # (N,) int64
    indices: np.ndarray  # (N,) int64, ascending
    paths: np.ndarray  # (N,) str
    num_query: int  # in the data set: an item is a query if its index is below this

    def __post_init__(self):
        labels = {name: np.shape(getattr(self, name)) for name in ("pids", "camids", "indices", "paths")}
        if np.ndim(self.features) != 2 or any(shape != (len(self.features),) for shape in labels.values()):
            raise InputError(f"features of shape {np.shape(self.features)} do not fit their labels: {labels}")
        if np.any(np.diff(self.indices) <= 0):
            raise InputError("the indices of a feature set must ascend, each once; use FeatureSet.from_parts")
        finite = np.array([np.isfinite(feature).all() for feature in self.features], dtype=bool)
        if not finite.all():
            first = ", ".join(self.paths[~finite][:3])
            raise InputError(
                f"{np.count_nonzero(~finite)} of {len(finite)} features are NaN or infinite, first those of {first}; "
                "the weights are broken, or the precision is too low"
            )

    @classmethod
    def from_parts(cls, features, pids, camids, indices, paths, num_query: int) -> "FeatureSet":
        """Sort items that arrive in any order into the order of the data set, and drop duplicates.

        Raises:
            InputError: two different images with one index, or an error of the constructor.
        """
        order = np.argsort(indices, kind="stable")
        new = np.diff(indices[order], prepend=-1) > 0
        first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        differ = (pids[order] != pids[first]) | (camids[order] != camids[first]) | (paths[order] != paths[first])
        if differ.any():
            one, other = first[differ][0], order[differ][0]
            raise InputError(f"{paths[one]} and {paths[other]} both have index {indices[one]}; it must be unique")
        order = order[new]
        return cls(features[order], pids[order], camids[order], indices[order], paths[order], num_query)

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def _split(self) -> int:
        return int(np.searchsorted(self.indices, self.num_query))

    @property
    def query(self) -> slice:
        """The rows of the queries: ``features[fs.query]``."""
        return slice(0, self._split)

    @property
    def gallery(self) -> slice:
        """The rows of the gallery."""
        return slice(self._split, len(self))

    @property
    def labels(self) -> tuple[np.ndarray, ...]:
        """Identities of queries and gallery, then their cameras, as every ranking function takes them."""
        return self.pids[self.query], self.pids[self.gallery], self.camids[self.query], self.camids[self.gallery]

    def save(self, path: str | os.PathLike) -> None:
        """Write to one ``.npz`` file, completely or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file, version=_VERSION, features=self.features, pids=self.pids, camids=self.camids,
                indices=self.indices, paths=self.paths, num_query=self.num_query,
            )  # fmt: skip

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FeatureSet":
        """Read what :meth:`save` wrote. Nothing in the file is executed.

        Raises:
            InputError: no such file, or not a file written by :meth:`save`.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                parts = {name: np.asarray(file[name]) for name in file.files}  # members other than arrays are bytes
        except OSError as error:
            raise InputError(f"cannot read features from {path}: {error.strerror or error}") from None
        except Exception:  # NumPy raises almost anything on damaged files
            parts = {}
        version = parts.pop("version", None)
        if version is None and parts.keys() >= {"features", "paths", "identities", "cameras"}:
            raise InputError(
                f"{path} is from tools/extract_features.py and does not say which images are queries; give features "
                "that an evaluation saved with TEST.SAVE_FEATURES True"
            )
        current = np.array_equal(version, _VERSION)
        kinds = {name: values.dtype.kind for name, values in parts.items()}
        if version is None or (current and (kinds != _KINDS or parts["num_query"].ndim)):
            raise InputError(f"{path} is not a file of features as DCALReidEvaluator writes them")
        if not current:
            raise InputError(f"{path} is of version {version}, this is for version {_VERSION}: extract features again")
        return cls(**parts | {"num_query": int(parts["num_query"])})
