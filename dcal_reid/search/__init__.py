"""What the tools for a user's own images do: extract features, verify a pair."""

from .extraction import extract_features
from .sources import dataset_records, image_records
from .verification import Threshold, threshold_at

__all__ = ["Threshold", "dataset_records", "extract_features", "image_records", "threshold_at"]
