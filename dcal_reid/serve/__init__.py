"""A web page and an API over a gallery: search with a picture, and see what was found and why."""

from .run import run_server
from .settings import Settings

__all__ = ["Settings", "run_server"]
