import io
import struct
import zlib

import pytest
from PIL import Image


def post(client, data, status, headers=None, name="query.png", **fields):
    answer = client.post("/search", files={"image": (name, data)}, data=fields, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json().get("detail")


def huge_png(width, height):
    """A valid header of an image that is never decoded."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


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


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PPM"])
def test_other_formats(client, picture, form):
    assert "use JPEG, PNG, WebP or BMP" in post(client, picture(form), 415)


def test_files_that_are_no_images(client, picture):
    assert "empty" in post(client, b"", 415)
    for data in (b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\xff\xd8\xff", b"\x00" * 500):
        assert "not an image" in post(client, data, 415, name="photo.jpg")
    assert "cannot be decoded" in post(client, picture("PNG")[:2000], 422)


@pytest.mark.parametrize(("size", "status"), [((50, 100), 200), ((51, 100), 422)])
def test_pixels(make_client, picture, size, status):
    detail = post(make_client(max_pixels=5000), picture(size=size), status, k=1)
    assert status == 200 or detail == "the image has 51 x 100 pixels, more than 5,000; make it smaller"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [6_000, 12_000, 200_000])
def test_a_decompression_bomb_is_not_decoded(client, side):
    assert "pixels" in post(client, huge_png(side, side), 422)


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


def test_a_body_that_is_not_well_formed(client):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/search", content=b"--y nonsense", headers=headers)
    assert answer.status_code in (400, 422) and "\n" not in answer.json()["detail"]


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


@pytest.mark.parametrize(("host", "status"), [
    ("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200),
    ("gallery.example.org", 200), ("evil.example", 400), ("localhost.evil.example", 400), ("", 400),
])  # fmt: skip
def test_hosts(make_client, host, status):
    client = make_client(allowed_hosts=("gallery.example.org",))
    assert client.get("/health", headers={"Host": host}).status_code == status


def test_too_many_requests(make_client, picture):
    assert "try again" in post(make_client(max_requests=0), picture(), 503)
    assert make_client(max_requests=0).get("/images/0").status_code == 200


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


def test_a_file_that_has_gone(client, paths, tmp_path):
    paths[0].unlink()
    paths[1].write_text("no longer an image")
    paths[2].unlink()
    paths[2].mkdir()
    for number in range(3):
        for route in (f"/images/{number}", f"/images/{number}/attention"):
            answer = client.get(route)
            assert answer.status_code == 404
            assert answer.json()["detail"].startswith(f"the image of item {number} cannot be read any more")


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


def test_rotated_uploads(client, paths):
    """A camera's note that it was held sideways is heeded, as in evaluation."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    buffer = io.BytesIO()
    with Image.open(paths[4]) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    hits = client.post("/search", files={"image": buffer.getvalue()}, data={"k": "1"}).json()["hits"]
    assert hits[0]["id"] == 4 and hits[0]["distance"] == pytest.approx(0, abs=1e-5)
