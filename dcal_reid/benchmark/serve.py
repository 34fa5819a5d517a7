"""The search server under many clients at one time."""

import http.client
import itertools
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from ..errors import InputError
from .measure import describe_environment, print_table

__all__ = ["benchmark_serve"]

_COUNTERS = "dcal_reid_model_calls_total", "dcal_reid_model_images_total"
_BOUNDARY = uuid.uuid4().hex
_TOOL = Path(__file__).parents[2] / "tools" / "serve.py"


def benchmark_serve(
    gallery: str, weights: str, images: str, clients: int = 50, requests: int = 1000, device: str = "auto"
) -> dict[str, float]:
    """Start the server in a process of its own and print a table: errors, searches per second and latency.

    Before that, a single client makes a tenth of the searches.

    Args:
        gallery: the folder of a gallery of the model.
        weights: of the model.
        images: a folder; its .jpg and .png files are the queries, in turns.
        clients: at one time, each with one connection on which it asks again as soon as it has an answer.
        requests: of all clients together.
        device: of the server.

    Returns:
        the figures with all clients, by column.

    Raises:
        InputError: no images in the folder, fewer searches than clients, or a server that does not start.
    """
    queries = [path.read_bytes() for path in sorted(Path(images).iterdir()) if path.suffix.lower() in (".jpg", ".png")]
    if not queries:
        raise InputError(f"{images} holds no .jpg or .png file; name a folder of query images")
    if clients < 1 or requests < clients:
        raise InputError(f"{clients} clients and {requests} searches: give at least 1 client, and a search for each")
    bodies = [_form(query) for query in queries]
    print(describe_environment())
    rows = []
    with _server(gallery, weights, device) as port:
        _ask(port, bodies[:1] * 5)  # the first searches find cold disk caches
        for number in dict.fromkeys((1, clients)):
            asked = requests if number == clients else max(1, requests // 10)
            rows.append(_measure(port, bodies, number, asked))
    headers = ["clients", "searches", "errors", "searches/s", "images per model call",
               "median (ms)", "p95 (ms)", "p99 (ms)"]  # fmt: skip
    print_table(f"Search server, {len(bodies)} different queries, k = 20", headers, rows)
    return dict(zip(headers, rows[-1], strict=True))


def _measure(port: int, bodies: list[bytes], clients: int, requests: int) -> list:
    """A row of the table."""
    shares = [list(itertools.islice(itertools.cycle(bodies), first, requests, clients)) for first in range(clients)]
    before, start = _counters(port), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(itertools.chain.from_iterable(pool.map(lambda share: _ask(port, share), shares)))
    seconds, after = time.perf_counter() - start, _counters(port)
    calls, images = (after[name] - before[name] for name in _COUNTERS)
    good = [1e3 * latency for latency, status in answers if status == 200]
    p95, p99 = np.percentile(good, (95, 99)) if good else (float("nan"),) * 2
    median = statistics.median(good) if good else float("nan")
    return [clients, requests, requests - len(good), len(good) / seconds, images / max(calls, 1), median, p95, p99]


def _ask(port: int, bodies: list[bytes]) -> list[tuple[float, int]]:
    """One client: the seconds and the status of each search; status 0 for no answer."""
    connection, answers = http.client.HTTPConnection("127.0.0.1", port, timeout=120), []
    for body in bodies:
        start = time.perf_counter()
        try:
            connection.request("POST", "/search", body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        answers.append((time.perf_counter() - start, status))
    connection.close()
    return answers


def _form(image: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="query.jpg"\r\n\r\n'
    return head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _counters(port: int) -> dict[str, float]:
    """The server's counters, by name."""
    lines = _get(port, "/metrics").decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def _get(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


@contextmanager
def _server(gallery: str, weights: str, device: str) -> Iterator[int]:
    """Start a server, give its port once it answers, and stop it at the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(_TOOL), gallery, "--weights", weights, "--device", device, "--port", str(port)]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            while not _answers(port):
                if process.poll() is not None:
                    log.seek(0)
                    raise InputError(f"the server does not start: {log.read().strip().rpartition(chr(10))[2]}")
                time.sleep(0.2)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _answers(port: int) -> bool:
    try:
        return bool(_get(port, "/health"))
    except OSError:
        return False
