"""The tools for a user's own images: extract features, verify a pair, build and search a gallery."""

from .extraction import extract_features
from .gallery import add_to_gallery, build_gallery, open_gallery, remove_from_gallery
from .lookup import Found, look_up
from .sources import dataset_records, image_records
from .verification import Threshold, threshold_at

__all__ = [
    "Found",
    "Threshold",
    "add_to_gallery",
    "build_gallery",
    "dataset_records",
    "extract_features",
    "image_records",
    "look_up",
    "open_gallery",
    "remove_from_gallery",
    "threshold_at",
]
