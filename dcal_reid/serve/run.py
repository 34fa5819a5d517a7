"""Start the server."""

import logging

from ..engine.predictor import Predictor
from ..errors import InputError
from ..search.gallery import open_gallery
from ..search.location import Location, MilvusCollection
from .settings import LOCAL_HOSTS, Settings

__all__ = ["run_server"]

logger = logging.getLogger(__name__)


def run_server(location: Location, predictor: Predictor, settings: Settings) -> None:
    """Serve a gallery until the process is told to end.

    Args:
        location: of the gallery.
        predictor: of the model that the gallery's features come from.
        settings: see :class:`Settings`.

    Raises:
        InputError: there is no gallery, it is of another model, no threshold is given and none found, or fastapi,
            uvicorn or python-multipart is missing.
    """
    try:
        import python_multipart  # noqa: F401  (fastapi needs it for uploads, and says so only then)
        import uvicorn

        from .app import create_app
    except ImportError as error:
        raise InputError(f'{error.name} is missing; run pip install "dcal_reid[serve]"') from None
    gallery = open_gallery(location, predictor.fingerprint)
    app = create_app(predictor, gallery, settings, None if isinstance(location, MilvusCollection) else location)
    if settings.host not in (*LOCAL_HOSTS, "::1"):
        logger.warning("There is no password: whoever reaches %s can search this gallery", settings.host)
    uvicorn.run(app, host=settings.host, port=settings.port, server_header=False, proxy_headers=False)
