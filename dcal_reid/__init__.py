"""Dual Cross-Attention Learning for fast-reid. Importing this package registers every component."""

from . import compat

compat.apply()

from fastreid.config.defaults import _C as _fastreid_defaults  # noqa: E402

from .config import add_dcal_config, get_cfg  # noqa: E402

add_dcal_config(_fastreid_defaults)

__version__ = "0.1.0"

from . import data, evaluation, modeling  # noqa: E402, F401
from .engine.predictor import Predictor, load_model  # noqa: E402

__all__ = ["Predictor", "add_dcal_config", "get_cfg", "load_model"]
