"""Requests that are refused before any route sees them, and the headers of every response."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SECURITY_HEADERS", "Guard"]

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses requests that another web site makes in a visitor's browser (403), bodies that are too large (413) and
    more requests than can wait (503).

    Args:
        max_bytes: of a body. A body without Content-Length is refused as soon as it exceeds this.
        max_requests: at one time, other than GET, HEAD and OPTIONS.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_requests: int) -> None:
        self.app, self.max_bytes, self.max_requests, self.requests = app, max_bytes, max_requests, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault("Cache-Control", "no-cache")  # else parts of the page may be of an earlier version
            await send(message)

        if refusal := self._refusal(scope):
            await JSONResponse({"detail": refusal.detail}, refusal.status_code)(scope, receive, with_headers)
            return
        writes = scope["method"] not in _READING
        self.requests += writes
        try:
            await self.app(scope, self._counted(receive), with_headers)
        finally:
            self.requests -= writes

    def _refusal(self, scope: Scope) -> HTTPException | None:
        """Why a request is refused by its first line and headers alone; None if it is not refused."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if length.isdecimal() and float(length) > self.max_bytes:  # int() accepts at most 4300 digits
            return self._too_large()
        if scope["method"] in _READING:
            return None
        if _is_cross_site(headers):
            return HTTPException(403, "requests from other web sites are refused")
        if self.requests >= self.max_requests:
            return HTTPException(503, "too many requests at one time; try again in a moment")
        return None

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the request has more than {self.max_bytes / 2**20:.3g} MiB; make the image smaller")


def _is_cross_site(headers: Headers) -> bool:
    """Browsers send at least one of the two headers with a request that writes; other programs send none."""
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] not in ("same-origin", "none")
    return "origin" in headers and headers["origin"].partition("://")[2] != headers.get("host")
