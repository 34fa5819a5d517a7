"""The HTTP side: routes, errors and limits."""

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from time import perf_counter
from typing import Annotated, Literal

from fastapi import FastAPI, Form, HTTPException, Path, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .. import __version__
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import Gallery
from . import schemas
from .guard import SECURITY_HEADERS, Guard
from .metrics import CONTENT_TYPE, Metrics, MetricsMiddleware
from .pictures import UnsupportedImage
from .service import Hit, SearchService
from .settings import Settings
from .shared import Item, NotInGallery, SharedGallery

__all__ = ["create_app"]

Branch = Literal["sa", "glca"]
ItemId = Annotated[int, Path(ge=0, lt=2**63, description="id of a gallery item")]
Label = Annotated[str, Form(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
_REASONS = {
    400: "a request that is not well-formed",
    403: "from another web site, or not allowed on this server",
    404: "no such item, or its file has gone",
    413: "the request is too large",
    415: "not a JPEG, PNG, WebP or BMP file",
    422: "input that cannot be used",
    503: "too many requests at one time",
}
_PICTURE = {200: {"content": {"image/jpeg": {}}}, 304: {"description": "not changed since it was last asked for"}}
_SENDS_IMAGE = (400, 403, 413, 415, 422, 503)


def create_app(predictor: Predictor, gallery: Gallery, settings: Settings, folder: str | os.PathLike | None) -> FastAPI:
    """The application, for uvicorn or another ASGI server (one process).

    Args:
        predictor, gallery: of the same model.
        settings: limits, and what is allowed.
        folder: where the gallery is written after a change; None for one in Milvus.

    Raises:
        InputError: no threshold is given and none can be found.
    """
    service = SearchService(predictor, SharedGallery(gallery, folder), settings)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # FastAPI's pages at /docs would load scripts from other hosts.
    app = FastAPI(
        title="dcal_reid gallery search", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts, www_redirect=False)
    app.add_middleware(Guard, max_bytes=settings.max_upload_bytes, max_requests=settings.max_requests)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    _add_errors(app)
    _add_pages(app, service, metrics)
    _add_search(app, service)
    _add_changes(app, service)
    return app


def _add_pages(app: FastAPI, service: SearchService, metrics: Metrics) -> None:
    static = resources.files(__package__) / "static"
    page = (static / "index.html").read_text(encoding="utf-8")
    app.mount("/static", StaticFiles(directory=str(static)), name="static")

    @app.get("/", response_class=HTMLResponse, summary="The page", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/health", summary="Whether the server answers")
    async def health() -> schemas.Health:
        return schemas.Health(status="ok")

    @app.get("/metrics", summary="Counters for Prometheus", response_class=Response,
             responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})  # fmt: skip
    async def prometheus() -> Response:
        text = metrics.text(
            gallery_items=len(service.gallery),
            model_calls_total=service.features.calls,
            model_images_total=service.features.items,
        )
        return Response(text, media_type=CONTENT_TYPE)

    @app.get("/gallery", summary="What is searched")
    async def gallery() -> schemas.GalleryInfo:
        shared = service.gallery
        return schemas.GalleryInfo(
            size=len(shared), metric=shared.gallery.metric, dim=shared.gallery.dim,
            fingerprint=shared.gallery.fingerprint, threshold=service.threshold,
            false_positive_rate=service.false_positive_rate, attention=service.branches,
            cameras=[schemas.Camera(name=name, items=items) for name, items in sorted(dict(shared.cameras).items())],
            allow_add=service.settings.allow_add, max_upload_bytes=service.settings.max_upload_bytes,
        )  # fmt: skip


def _add_search(app: FastAPI, service: SearchService) -> None:
    @app.post("/search", summary="The items nearest to an image", responses=_errors(*_SENDS_IMAGE))
    def search(
        image: UploadFile,
        k: Annotated[int, Form(ge=1, le=100, description="number of items to return")] = 20,
        camera: Annotated[list[str] | None, Form(description="only items of these cameras; default: all")] = None,
        threshold: Annotated[float | None, Form(gt=0, allow_inf_nan=False, description="default: GET /gallery")] = None,
        attention: Annotated[Branch | None, Form(description="branch whose attention is drawn")] = None,
    ) -> schemas.SearchResult:
        start = perf_counter()
        hits, drawn = service.search(image.file.read(), k, camera or (), threshold, attention or "")
        return schemas.SearchResult(
            hits=[_hit(hit, attention) for hit in hits],
            threshold=service.threshold if threshold is None else threshold,
            attention=drawn and f"data:image/jpeg;base64,{base64.b64encode(drawn).decode()}",
            seconds=perf_counter() - start,
        )

    picture = {"response_class": Response, "responses": _errors(404, 422) | _PICTURE}

    @app.get("/images/{item_id}", summary="The image of an item, 512 pixels at most", **picture)
    def image(item_id: ItemId, request: Request) -> Response:
        return _picture(request, *service.picture(item_id))

    @app.get("/images/{item_id}/attention", summary="Where the model looks on the image of an item", **picture)
    def image_attention(item_id: ItemId, request: Request, branch: Annotated[Branch, Query()] = "sa") -> Response:
        return _picture(request, *service.picture(item_id, branch))


def _add_changes(app: FastAPI, service: SearchService) -> None:
    def check_allowed() -> None:
        if not service.settings.allow_add:
            raise HTTPException(403, "this gallery cannot be changed here; start the server with --allow-add")

    @app.post("/gallery", summary="Add an image", status_code=201, responses=_errors(*_SENDS_IMAGE))
    def add(image: UploadFile, identity: Label, camera: Label) -> schemas.ItemInfo:
        check_allowed()
        return schemas.ItemInfo(**_item(service.add(image.file.read(), identity, camera)))

    @app.delete("/gallery/{item_id}", summary="Remove an item", status_code=204, responses=_errors(403, 404, 422, 503))
    def remove(item_id: ItemId) -> None:
        check_allowed()
        service.remove(item_id)


def _add_errors(app: FastAPI) -> None:
    """Every error of a route is one line of JSON; none shows a traceback or a path."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)

    @app.exception_handler(InputError)
    async def wrong_input(_: Request, error: InputError) -> JSONResponse:
        status = 404 if isinstance(error, NotInGallery) else 415 if isinstance(error, UnsupportedImage) else 422
        return JSONResponse({"detail": " ".join(str(error).split())}, status)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"detail": "internal error; the server's log says more"}, 500, SECURITY_HEADERS)


def _errors(*statuses: int) -> dict[int, dict]:
    return {status: {"model": schemas.Error, "description": _REASONS[status]} for status in statuses}


def _item(item: Item) -> dict:
    return item._asdict() | {"image": f"/images/{item.id}"}


def _hit(hit: Hit, branch: str | None) -> schemas.HitInfo:
    attention = branch and f"/images/{hit.item.id}/attention?branch={branch}"
    return schemas.HitInfo(**_item(hit.item), distance=hit.distance, match=hit.match, attention=attention)


def _picture(request: Request, data: bytes, tag: str) -> Response:
    """Browsers cache the picture, but ask each time whether it has changed: another gallery may use the same id."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)
