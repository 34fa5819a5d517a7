"""The interface of a searchable gallery, independent of the search engine."""

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .records import Records
from .scaled import ScaledFeatures

__all__ = ["Gallery", "Hits", "check_fingerprint", "check_k", "check_one_record_each", "shown_distances"]


@dataclass(frozen=True)
class Hits:
    """The items nearest to each of n queries, nearest first."""

    ids: np.ndarray  # (n, k) int64, -1 where no more were found
    distances: np.ndarray  # (n, k) float32: 1 - cos or the euclidean distance; inf where no more were found

    @classmethod
    def none(cls, n: int, k: int) -> "Hits":
        """Empty hits, to be filled in."""
        return cls(np.full((n, k), -1, dtype=np.int64), np.full((n, k), np.inf, dtype=np.float32))


class Gallery(ABC):
    """Searchable features, each with an id and a record of what its image shows.

    ``fingerprint`` identifies the model that computed the features: distances to another model's features are
    meaningless.
    """

    metric: str
    dim: int
    fingerprint: str

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def ids(self) -> np.ndarray:
        """(n,) int64, the ids of all items, ascending."""

    @property
    @abstractmethod
    def cameras(self) -> list[str]:
        """All distinct cameras, as strings."""

    @abstractmethod
    def add(self, features, records: Records) -> np.ndarray:
        """Add n features (n, D) and return their ids (n,), which no other item has or had.

        Raises:
            InputError: see :meth:`scaled`; another number of records, or records with strings where the others have
                integers or vice versa; or an index that cannot add items.
        """

    @abstractmethod
    def remove(self, ids) -> None:
        """Remove items.

        Raises:
            InputError: an id that is not in the gallery, or an index that cannot remove items.
        """

    @abstractmethod
    def search(self, features, k: int, cameras: Sequence[str] | None = None) -> Hits:
        """The ``k`` items nearest to each of n features (n, D), among all items or only those of some ``cameras``.

        Raises:
            InputError: see :meth:`scaled`, or k below 1.
        """

    @abstractmethod
    def records(self, ids) -> Records:
        """The records of items.

        Raises:
            InputError: an id that is not in the gallery.
        """

    @abstractmethod
    def save(self, folder) -> None:
        """Write to a folder. If the save is interrupted, the gallery saved there before can still be opened."""

    def scaled(self, features) -> ScaledFeatures:
        """Scale features (n, D), array or tensor, as the metric requires.

        Raises:
            InputError: not a matrix, another dimension, or values that the metric cannot use.
        """
        scaled = ScaledFeatures(features, self.metric)
        if scaled.dim != self.dim:
            raise InputError(
                f"features have {scaled.dim} values, those of the gallery {self.dim}: it is from another model"
            )
        return scaled


def shown_distances(found: np.ndarray, metric: str) -> np.ndarray:
    """1 - cos or the euclidean distance, from the cosine or the squared distance that a search engine returned."""
    distances = 1 - found if metric == "cosine" else np.sqrt(np.maximum(found, 0))
    return np.maximum(distances, 0)


def check_one_record_each(features: Sized, records: Records) -> None:
    """
    Raises:
        InputError: the numbers of records and features differ.
    """
    if len(features) != len(records):
        raise InputError(f"{len(features)} features but {len(records)} records; give one record per feature")


def check_k(k: int) -> None:
    """
    Raises:
        InputError: ``k`` is below 1.
    """
    if k < 1:
        raise InputError(f"at least 1 nearest item must be asked for, not {k}")


def check_fingerprint(gallery: object, has: str, wanted: str | None) -> None:
    """
    Raises:
        InputError: the gallery is of another model than ``wanted``; None accepts any model.
    """
    if wanted is not None and wanted != has:
        raise InputError(
            f"{gallery} holds features of model {has or 'unknown'}, not of {wanted}: build it again with this model"
        )
