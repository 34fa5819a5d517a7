"""The result of evaluating a classifier, image by image, and the metrics computed from it."""

import csv
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ..files import written_atomically

__all__ = ["ClassificationResult", "ConfusedPair"]

# How many of the hardest classes and most confused pairs the log names.
_DESCRIBED = 5


@dataclass(frozen=True)
class ConfusedPair:
    """How often images of one class were taken for another, and how often the other way round."""

    true: int
    predicted: int
    count: int
    reverse: int


@dataclass(frozen=True)
class ClassificationResult:
    """N test images and C classes, in the order of the data set. The columns of ``predicted`` and ``rank`` are the
    combined prediction, then each branch of ``branches``.

    Raises:
        ValueError: inconsistent arrays; this means a bug in our code, not an invalid input.
    """

    labels: np.ndarray  # (N,) the true class
    predicted: np.ndarray  # (N, 1 + b) the class with the highest score
    rank: np.ndarray  # (N, 1 + b) rank of the true class among all, from 1
    top: np.ndarray  # (N, k) the k classes with the highest combined score, best first
    probabilities: np.ndarray  # (N, k) their probabilities
    paths: np.ndarray  # (N,) str
    class_names: tuple[str, ...]
    branches: tuple[str, ...] = ()

    def __post_init__(self):
        images, columns = len(self.labels), 1 + len(self.branches)
        for name, shape in (("predicted", (images, columns)), ("rank", (images, columns)), ("paths", (images,))):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")
        if self.top.shape != self.probabilities.shape or not np.array_equal(self.top[:, 0], self.predicted[:, 0]):
            raise ValueError("top must begin with the predicted class and go with probabilities")
        if not np.array_equal(self.rank == 1, self.predicted == self.labels[:, None]):
            raise ValueError("the true class must have rank 1 exactly where it is predicted")

    def accuracy(self, k: int = 1, branch: str | None = None) -> float:
        """The share of images whose true class is among the first k, for one branch or for the combined prediction."""
        column = 0 if branch is None else 1 + self.branches.index(branch)
        return float(np.mean(self.rank[:, column] <= k))

    def confusion(self) -> np.ndarray:
        """(C, C), how many images of the row's class were predicted as the column's class."""
        counts = np.zeros((len(self.class_names), len(self.class_names)), dtype=np.int64)
        np.add.at(counts, (self.labels, self.predicted[:, 0]), 1)
        return counts

    def per_class(self) -> np.ndarray:
        """(C,) accuracy within each class; NaN for a class without test images."""
        counts = self.confusion()
        images = counts.sum(axis=1)
        return np.divide(np.diag(counts), images, out=np.full(len(counts), np.nan), where=images > 0)

    def most_confused(self, count: int | None = None) -> list[ConfusedPair]:
        """The pairs of classes that are confused, most frequent first, counted in both directions.

        ``true`` -> ``predicted`` is the direction that happens more often.
        """
        confusion = self.confusion()
        np.fill_diagonal(confusion, 0)
        both = np.triu(confusion + confusion.T)
        pairs = np.argwhere(both)
        order = np.argsort(-both[tuple(pairs.T)], kind="stable")[:count]
        found = []
        for one, other in pairs[order].tolist():
            true, predicted = (one, other) if confusion[one, other] >= confusion[other, one] else (other, one)
            counts = int(confusion[true, predicted]), int(confusion[predicted, true])
            found.append(ConfusedPair(true, predicted, *counts))
        return found

    def hardest(self, count: int | None = None) -> list[int]:
        """The classes with accuracy below 100 %, in ascending order of accuracy; ties in the order of the classes."""
        accuracy = self.per_class()
        return [label for label in np.argsort(accuracy, kind="stable").tolist() if accuracy[label] < 1][:count]

    def metrics(self) -> "OrderedDict[str, float]":
        """Metrics in percent. ``Class-mean`` is the mean per-class accuracy; ``metric`` selects the best model."""
        metrics = OrderedDict((f"Top-{k}", 100 * self.accuracy(k)) for k in (1, 5))
        metrics["Class-mean"] = 100 * float(np.nanmean(self.per_class()))
        for branch in self.branches:
            metrics[f"Top-1-{branch.upper()}"] = 100 * self.accuracy(branch=branch)
        metrics["metric"] = metrics["Top-1"]
        return metrics

    def describe(self) -> str:
        """For the log: what the metrics are computed over, the hardest classes, and the most confused pairs."""
        names, per_class, hardest = self.class_names, 100 * self.per_class(), self.hardest(_DESCRIBED)
        lines = [f"{len(self.labels)} images of {np.count_nonzero(~np.isnan(per_class))} classes"]
        if hardest:
            lines.append("hardest: " + ", ".join(f"{names[c]} {per_class[c]:.0f} %" for c in hardest))
        pairs = [[names[p.true], names[p.predicted], p.count, p.reverse] for p in self.most_confused(_DESCRIBED)]
        if pairs:
            headers = ["class", "taken for", "images", "the other way"]
            lines.append("most confused:\n" + tabulate(pairs, headers=headers, tablefmt="github"))
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write ``predictions.csv``, ``classes.csv``, ``confused_pairs.csv`` and ``confusion.csv``.

        The confusion matrix has the true class in the rows and the predicted class in the columns.
        """
        folder, names, counts = Path(folder), self.class_names, self.confusion()
        folder.mkdir(parents=True, exist_ok=True)
        _write_csv(
            folder / "predictions.csv",
            ["path", "label", "predicted", "probability", "rank of label"],
            (
                [path, names[label], names[predicted[0]], f"{probability[0]:.4f}", rank[0]]
                for path, label, predicted, probability, rank in zip(
                    self.paths, self.labels, self.predicted, self.probabilities, self.rank, strict=True
                )
            ),
        )
        _write_csv(
            folder / "classes.csv",
            ["class", "images", "correct", "accuracy"],
            (
                [name, counts[c].sum(), counts[c, c], "" if np.isnan(accuracy) else f"{accuracy:.4f}"]
                for c, (name, accuracy) in enumerate(zip(names, self.per_class(), strict=True))
            ),
        )
        _write_csv(
            folder / "confused_pairs.csv",
            ["class", "taken for", "images", "the other way"],
            ([names[p.true], names[p.predicted], p.count, p.reverse] for p in self.most_confused()),
        )
        _write_csv(
            folder / "confusion.csv",
            ["true \\ predicted", *names],
            ([name, *row] for name, row in zip(names, counts.tolist(), strict=True)),
        )


def _write_csv(path: Path, header: list[str], rows: Iterable[list]) -> None:
    # A file name that is not UTF-8 contains surrogates; it is written with its bytes on disk.
    options = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with written_atomically(path) as temporary, open(temporary, "w", **options) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
