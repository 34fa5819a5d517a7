"""Data sets, samplers, transforms and loaders. Importing this package registers the datasets with fast-reid."""

from .datasets import load_dataset
from .loader import (
    build_classification_test_loader,
    build_distractor_loader,
    build_path_loader,
    build_test_loader,
    build_train_loader,
)

__all__ = [
    "build_classification_test_loader",
    "build_distractor_loader",
    "build_path_loader",
    "build_test_loader",
    "build_train_loader",
    "load_dataset",
]
