"""Checking a data set before anything is trained on it: what is there, what is missing, what is wrong with it."""

from .check import check_dataset, dataset_named
from .report import DatasetCheck

__all__ = ["DatasetCheck", "check_dataset", "dataset_named"]
