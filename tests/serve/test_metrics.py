import asyncio
import re
from types import SimpleNamespace

import pytest
from helpers.serving import search
from hypothesis import given
from hypothesis import strategies as st

from dcal_reid.serve.metrics import Metrics, MetricsMiddleware


def test_metrics(client, picture):
    search(client, picture(), k=1)
    search(client, b"", status=415)
    for number in range(3):
        client.get(f"/images/{number}")
        client.get(f"/no/such/page{number}")
    text = client.get("/metrics").text
    for line in (
        'dcal_reid_requests_total{method="POST",route="/search",status="200"} 1',
        'dcal_reid_requests_total{method="POST",route="/search",status="415"} 1',
        'dcal_reid_requests_total{method="GET",route="/images/{item_id}",status="200"} 3',
        'dcal_reid_requests_total{method="GET",route="other",status="404"} 3',
        'dcal_reid_request_seconds_bucket{route="/search",le="+Inf"} 2',
        'dcal_reid_request_seconds_count{route="/search"} 2',
        "dcal_reid_gallery_items 40",
        "dcal_reid_model_images_total 1",
    ):
        assert line in text.splitlines(), line


def values(text):
    """What Prometheus reads: the value of each name with its labels. Every metric must be declared once, before."""
    found, declared = {}, []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            declared.append(line.split()[2])
            continue
        name, value = line.rsplit(" ", 1)
        assert re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})?', name) and name not in found
        assert name.startswith(declared[-1])
        found[name] = float(value)
    assert len(set(declared)) == len(declared) and text.endswith("\n")
    return found


BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20) | st.sampled_from(BOUNDS))))
def test_the_histogram_is_cumulative_over_each_route(requests):
    metrics = Metrics()
    for route, seconds in requests:
        metrics.count("GET", route, 200, seconds)
    found = values(metrics.text(items=7, calls_total=3))
    assert (found.pop("dcal_reid_items"), found.pop("dcal_reid_calls_total")) == (7, 3)
    for route in {route for route, _ in requests}:
        took = [seconds for name, seconds in requests if name == route]
        name = f'dcal_reid_request_seconds_%s{{route="{route}"%s}}'
        for bound in BOUNDS:
            assert found.pop(name % ("bucket", f',le="{bound}"')) == sum(seconds <= bound for seconds in took)
        assert found.pop(name % ("bucket", ',le="+Inf"')) == found.pop(name % ("count", "")) == len(took)
        assert found.pop(name % ("sum", "")) == pytest.approx(sum(took), abs=1e-6)
        label = f'{{method="GET",route="{route}",status="200"}}'
        assert found.pop(f"dcal_reid_requests_total{label}") == len(took)
    assert not found


def test_a_request_that_fails_and_one_with_a_method_of_its_own_are_counted():
    """The route is known only after the application has seen the request; the method may be anything a client sends."""
    metrics = Metrics()

    async def fail(scope, receive, send):
        scope["route"] = SimpleNamespace(path="/items/{id}")
        raise RuntimeError

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 418})

    async def ignore(message):
        pass

    with pytest.raises(RuntimeError):
        asyncio.run(MetricsMiddleware(fail, metrics)({"type": "http", "method": "GET"}, None, ignore))
    for method in ("HACK", '"\n', "BREW"):
        asyncio.run(MetricsMiddleware(answer, metrics)({"type": "http", "method": method}, None, ignore))
    asyncio.run(MetricsMiddleware(answer, metrics)({"type": "lifespan"}, None, ignore))
    found = values(metrics.text())
    assert {name: value for name, value in found.items() if name.startswith("dcal_reid_requests_total")} == {
        'dcal_reid_requests_total{method="GET",route="/items/{id}",status="500"}': 1,
        'dcal_reid_requests_total{method="other",route="other",status="418"}': 3,
    }
