"""What a searchable gallery is, whichever engine searches it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from .records import Records

__all__ = ["Gallery", "Hits"]


@dataclass(frozen=True)
class Hits:
    """The items nearest to each of n queries, from the nearest on."""

    ids: np.ndarray  # (n, k) int64, -1 where the gallery has no more
    distances: np.ndarray  # (n, k) float32: 1 - cos or the euclidean distance; inf where the gallery has no more


class Gallery(ABC):
    """Features that can be searched, each under an id, with a record of what it shows.

    ``fingerprint`` names the model that the features are from: distances to those of another model mean nothing.
    """

    metric: str
    dim: int
    fingerprint: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def add(self, features, records: Records) -> np.ndarray:
        """Add n features (n, D) and return their ids (n,), which no other item has or had.

        Raises:
            InputError: features of another dimension, NaN or infinite features, or another number of records.
        """

    @abstractmethod
    def remove(self, ids) -> None:
        """Remove items.

        Raises:
            InputError: an id that is not in the gallery.
        """

    @abstractmethod
    def search(self, features, k: int) -> Hits:
        """The ``k`` items nearest to each of n features (n, D).

        Raises:
            InputError: as for :meth:`add`, or k below 1.
        """

    @abstractmethod
    def records(self, ids) -> Records:
        """The records of items.

        Raises:
            InputError: an id that is not in the gallery.
        """

    @abstractmethod
    def save(self, folder) -> None:
        """Write to a folder. If that is interrupted, what was saved there before can still be opened."""

    @classmethod
    @abstractmethod
    def open(cls, folder, fingerprint: str | None = None) -> "Gallery":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no gallery there, one of another version, or one of another model than ``fingerprint`` names.
        """
