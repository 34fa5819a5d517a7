"""Test images that could not be decoded and were left out (DATALOADER.BROKEN_IMAGES skip)."""

import logging
from collections.abc import Iterable

import numpy as np

from ..text import first_few
from .gather import gather_rows

__all__ = ["warn_of_broken"]

logger = logging.getLogger(__name__)


def warn_of_broken(paths: Iterable[str]) -> None:
    """Warn on the main process how many images of all processes are left out, and which are the first.

    All processes must call it.
    """
    gathered = gather_rows({"paths": np.array(sorted(paths), dtype=str)})
    found = sorted(set(gathered["paths"].tolist())) if gathered else []
    if found:
        logger.warning("%d test images cannot be decoded and are left out: %s", len(found), first_few(found))
