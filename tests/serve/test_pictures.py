import io
import struct
import zlib

import pytest
from PIL import Image
from serving import decoded, post, search


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
def test_formats(client, picture, form):
    assert len(search(client, picture(form), k=3)["hits"]) == 3


def huge_png(width, height):
    """A valid header of an image that is never decoded."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


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


def test_rotated_uploads(client, paths):
    """A camera's note that it was held sideways is heeded, as in evaluation."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    buffer = io.BytesIO()
    with Image.open(paths[4]) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    hits = client.post("/search", files={"image": buffer.getvalue()}, data={"k": "1"}).json()["hits"]
    assert hits[0]["id"] == 4 and hits[0]["distance"] == pytest.approx(0, abs=1e-5)


def test_pictures_are_small_jpegs_without_metadata(client, paths):
    exif = Image.Exif()
    exif[0x010E] = "secret"
    with Image.open(paths[0]) as image:
        image.resize((900, 1800)).save(paths[0], exif=exif)
    answer = client.get("/images/0")
    assert answer.headers["content-type"] == "image/jpeg" and b"secret" not in answer.content
    assert decoded(answer.content).size == (256, 512) and decoded(answer.content).format == "JPEG"
