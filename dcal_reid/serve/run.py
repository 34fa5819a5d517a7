"""Start the server."""

import logging
import os

from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import FaissGallery
from .settings import LOCAL_HOSTS, Settings

__all__ = ["run_server"]

logger = logging.getLogger(__name__)


def run_server(folder: str | os.PathLike, predictor: Predictor, settings: Settings) -> None:
    """Serve a gallery until the process is told to end.

    Args:
        folder: what ``FaissGallery.save`` wrote, with features of the same model.
        predictor: makes the features of queries.
        settings: see :class:`Settings`.

    Raises:
        InputError: no gallery, one of another model, or fastapi, uvicorn or python-multipart is missing.
    """
    try:
        import python_multipart  # noqa: F401  (fastapi needs it for uploads, and says so only then)
        import uvicorn

        from .app import create_app
    except ImportError as error:
        raise InputError(f'{error.name} is missing; run pip install "dcal_reid[serve]"') from None
    gallery = FaissGallery.open(folder, predictor.fingerprint)
    app = create_app(predictor, gallery, settings, folder)
    if settings.host not in (*LOCAL_HOSTS, "::1"):
        logger.warning("There is no password: whoever reaches %s can search this gallery", settings.host)
    uvicorn.run(app, host=settings.host, port=settings.port, server_header=False, proxy_headers=False)
