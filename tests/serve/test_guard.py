import asyncio

import pytest
from helpers.serving import post
from starlette.exceptions import HTTPException

from dcal_reid.serve.guard import Guard


def test_bytes_with_content_length(make_client, picture):
    client = make_client(max_upload_bytes=5000)
    assert "more than 0.00477 MiB" in post(client, picture(size=(50, 50)), 413)
    assert post(client, picture(size=(20, 20)), 200) is None


def test_bytes_without_content_length_are_refused_while_they_come(make_client):
    sent = []

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(1000):
            sent.append(1)
            yield b"0" * 1000

    client = make_client(max_upload_bytes=5000)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/search", content=body(), headers=headers)
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413 and "MiB" in answer.json()["detail"]


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 200),
    ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "none"}, 200),
    ({"Origin": "http://localhost"}, 200),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "http://localhost:1"}, 403),
    ({"Origin": "null"}, 403),
])  # fmt: skip
def test_requests_from_other_web_sites(client, picture, headers, status):
    post(client, picture(), status, headers=headers, k=1)


def test_deletes_from_other_web_sites(client):
    answer = client.delete("/gallery/0", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()) == (403, {"detail": "requests from other web sites are refused"})


def test_too_many_requests(make_client, picture):
    assert "try again" in post(make_client(max_requests=0), picture(), 503)
    assert make_client(max_requests=0).get("/images/0").status_code == 200


def test_every_answer_has_security_headers(client, picture):
    for answer in (
        client.get("/"), client.get("/images/0"), client.get("/nothing"), client.get("/static/app.js"),
        client.post("/search"), client.post("/search", headers={"Origin": "https://evil.example"}),
    ):  # fmt: skip
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


def answers(app, method="POST", headers=(), chunks=(b"",)):
    """The messages that an ASGI application sends for one request, from a connection without a client library."""
    sent, waiting = [], list(chunks)

    async def receive():
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in headers]
    asyncio.run(app({"type": "http", "method": method, "headers": headers}, receive, send))
    return sent


async def echo(scope, receive, send):
    """Reads the body to its end, and answers it."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=1")]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_largest_body_passes_and_one_byte_more_does_not(method):
    guard = Guard(echo, max_bytes=10, max_requests=1)
    assert answers(guard, method, chunks=(b"01234", b"56789"))[-1]["body"] == b"0123456789"
    assert answers(guard, method, [("Content-Length", "10")], (b"0123456789",))[0]["status"] == 200
    with pytest.raises(HTTPException) as error:
        answers(guard, method, chunks=(b"01234", b"567890"))
    assert error.value.status_code == 413


@pytest.mark.parametrize("length", ["11", "9" * 400, "9" * 5000])
def test_what_is_announced_as_too_large_is_not_read(length):
    guard = Guard(None, max_bytes=10, max_requests=1)
    start, body = answers(guard, "GET", [("Content-Length", length)], chunks=())
    assert start["status"] == 413 and b"more than 9.54e-06 MiB" in body["body"]


def test_every_place_is_free_again_after_its_request():
    """However the request ends."""

    async def fail(scope, receive, send):
        raise RuntimeError("no answer")

    guard = Guard(fail, max_bytes=10, max_requests=1)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no answer"):
            answers(guard)
    guard.app = echo
    assert [answers(guard)[0]["status"] for _ in range(3)] == [200] * 3


def test_requests_at_one_time():
    """While two are in progress, a third has to come again; requests that only read are not counted."""
    statuses = []

    async def visitors():
        release = asyncio.Event()

        async def slow(scope, receive, send):
            await release.wait()
            await echo(scope, receive, send)

        guard = Guard(slow, max_bytes=10, max_requests=2)

        async def visit(method):
            async def receive():
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message):
                if message["type"] == "http.response.start":
                    statuses.append((method, message["status"]))

            await guard({"type": "http", "method": method, "headers": []}, receive, send)

        visits = [asyncio.create_task(visit(method)) for method in ("POST", "GET", "GET", "DELETE", "PUT")]
        for _ in range(10):
            await asyncio.sleep(0)
        assert statuses == [("PUT", 503)]
        release.set()
        await asyncio.gather(*visits)

    asyncio.run(visitors())
    assert sorted(statuses[1:]) == [("DELETE", 200), ("GET", 200), ("GET", 200), ("POST", 200)]


def test_what_a_route_says_of_caching_stays():
    headers = dict(answers(Guard(echo, 10, 1), "GET")[0]["headers"])
    assert headers[b"cache-control"] == b"max-age=1" and headers[b"x-frame-options"] == b"DENY"


@pytest.mark.parametrize("origin", ["http://localhost", "https://evil.example"])
def test_the_newer_header_decides(origin):
    """If a browser sends both, Sec-Fetch-Site says where the request comes from."""
    guard = Guard(echo, max_bytes=10, max_requests=1)
    for site, status in (("same-origin", 200), ("cross-site", 403), ("", 403)):
        headers = [("Host", "localhost"), ("Origin", origin), ("Sec-Fetch-Site", site)]
        assert answers(guard, "POST", headers)[0]["status"] == status
        assert answers(guard, "GET", headers)[0]["status"] == 200


def test_what_is_no_request_passes():
    seen = []

    async def note(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Guard(note, 0, 0)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
