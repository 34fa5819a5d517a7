"""Check a data set before training: what is there, what is missing, and what is wrong with it."""

from .check import check_dataset, dataset_named
from .report import DatasetCheck

__all__ = ["DatasetCheck", "check_dataset", "dataset_named"]
