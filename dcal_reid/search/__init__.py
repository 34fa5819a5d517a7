"""What the tools for a user's own images do: extract features."""

from .extraction import extract_features
from .sources import dataset_records, image_records

__all__ = ["dataset_records", "extract_features", "image_records"]
