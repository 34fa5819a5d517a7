"""Counters of the server in Prometheus' text format."""

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CONTENT_TYPE", "Metrics", "MetricsMiddleware"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Metrics:
    """Requests by route and status, and how long each route takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BUCKETS) + 1))
        self._seconds: Counter[str] = Counter()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self._requests[method, route, status] += 1
            self._buckets[route][bisect_left(_BUCKETS, seconds)] += 1
            self._seconds[route] += seconds

    def text(self, **values: float) -> str:
        """All metrics, and the current ``values``: counters if the name ends in ``_total``, else gauges."""
        with self._lock:
            lines = ["# TYPE dcal_reid_requests_total counter"]
            for (method, route, status), number in sorted(self._requests.items()):
                labels = f'method="{method}",route="{route}",status="{status}"'
                lines.append(f"dcal_reid_requests_total{{{labels}}} {number}")
            lines.append("# TYPE dcal_reid_request_seconds histogram")
            for route, counts in sorted(self._buckets.items()):
                total = 0
                for bound, number in zip((*_BUCKETS, "+Inf"), counts, strict=True):
                    total += number
                    lines.append(f'dcal_reid_request_seconds_bucket{{route="{route}",le="{bound}"}} {total}')
                lines.append(f'dcal_reid_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
                lines.append(f'dcal_reid_request_seconds_count{{route="{route}"}} {total}')
        for name, value in values.items():
            lines += [f"# TYPE dcal_reid_{name} {'counter' if name.endswith('_total') else 'gauge'}"]
            lines += [f"dcal_reid_{name} {value}"]
        return "\n".join(lines) + "\n"


class MetricsMiddleware:
    """Counts every request under its route, not under its path: the number of different paths is unlimited."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.count(method, route, status, time.perf_counter() - start)
