import pytest
from serving import post


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
