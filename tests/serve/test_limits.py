"""What strangers may send to the server as a whole, and what it tells them."""

import pytest
from helpers.serving import post


@pytest.mark.parametrize(("fields", "detail"), [
    ({"k": 0}, "k: Input should be greater than or equal to 1"),
    ({"k": 101}, "k: Input should be less than or equal to 100"),
    ({"k": "many"}, "k: Input should be a valid integer"),
    ({"threshold": "nan"}, "threshold: Input should be a finite number"),
    ({"threshold": -1}, "threshold: Input should be greater than 0"),
    ({"threshold": 0}, "threshold: Input should be greater than 0"),
    ({"attention": "pwca"}, "attention: Input should be 'sa' or 'glca'"),
    ({"camera": "cam9"}, "the gallery has no camera 'cam9'"),
])  # fmt: skip
def test_fields(client, picture, fields, detail):
    assert post(client, picture(), 422, **fields).startswith(detail)


def test_no_image(client):
    answer = client.post("/search", data={"k": "3"})
    assert (answer.status_code, answer.json()) == (422, {"detail": "image: Field required"})


def test_a_body_that_is_not_well_formed(client):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/search", content=b"--y nonsense", headers=headers)
    assert answer.status_code in (400, 422) and "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(("host", "status"), [
    ("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200),
    ("gallery.example.org", 200), ("evil.example", 400), ("localhost.evil.example", 400), ("", 400),
])  # fmt: skip
def test_hosts(make_client, host, status):
    client = make_client(allowed_hosts=("gallery.example.org",))
    answer = client.get("/health", headers={"Host": host})
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("item", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "a", "-1",
                                  "1.5", "/etc/passwd", "0%00", "9" * 30, "0/../../../etc/passwd"])  # fmt: skip
@pytest.mark.parametrize("route", ["/images/{}", "/images/{}/attention", "/static/{}"])
def test_nothing_outside_is_read(client, route, item):
    answer = client.get(route.format(item))
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text and "\n" not in answer.json()["detail"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "a\x00b", "é" * 300])
def test_the_name_of_an_upload_means_nothing(client, picture, name):
    assert "not an image" in post(client, b"no image", 415, name=name)
    post(client, picture(), 200, name=name)


def test_items_that_are_not_there(client):
    for route in ("/images/40", "/images/40/attention", f"/images/{2**63 - 1}"):
        answer = client.get(route)
        assert answer.status_code == 404 and "the gallery has no item" in answer.json()["detail"]
    assert client.get(f"/images/{2**63}").status_code == 422
    assert client.get("/images/0/attention?branch=pwca").status_code == 422


def test_no_folder_of_the_server_is_told(client, tmp_path, picture, paths):
    paths[0].unlink()
    answers = [
        client.get("/gallery"), client.get("/openapi.json"), client.get("/metrics"), client.get("/images/0"),
        client.get("/images/99"), client.post("/search", files={"image": picture()}, data={"k": "100"}),
    ]  # fmt: skip
    for answer in answers:
        assert str(tmp_path) not in answer.text and "crops" not in answer.text


def test_an_upload_leaves_the_gallery_alone(client, gallery_folder, picture):
    before = {file: file.stat().st_mtime_ns for file in gallery_folder.iterdir()}
    post(client, picture(), 200)
    assert client.post("/gallery", files={"image": picture()}, data={"identity": "a", "camera": "b"}).status_code == 403
    assert client.delete("/gallery/0").status_code == 403
    assert {file: file.stat().st_mtime_ns for file in gallery_folder.iterdir()} == before
    assert client.get("/gallery").json()["size"] == 40
