import io
import struct
import zlib

import numpy as np
import pytest
import torch
from helpers.serving import decoded, post, search
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcal_reid.data.images import read_image
from dcal_reid.errors import InputError
from dcal_reid.serve.pictures import as_jpeg, as_png, decode_upload, overlay


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
    """A camera's note that it was held sideways is respected, as in evaluation."""
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


def encoded(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def noise(height, width, channels=3):
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
@pytest.mark.parametrize("size", [(1, 1), (9, 5)])
def test_pixels_are_those_of_the_file(form, options, size):
    pixels = noise(*size)
    found = decode_upload(encoded(Image.fromarray(pixels), form, **options), max_pixels=45)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.permute(1, 2, 0), pixels)


def test_an_upload_is_read_as_a_file_of_the_gallery_is(tmp_path):
    """Whatever its mode, and whichever way the camera was held; otherwise an image would be far from itself."""
    colour, turned = Image.fromarray(noise(9, 5)), Image.Exif()
    turned[0x0112] = 8
    pictures = {mode: colour.convert(mode) for mode in ("L", "1", "P")} | {
        "RGBA": Image.fromarray(noise(9, 5, 4)), "I;16": Image.fromarray(noise(9, 5, 2).view(np.uint16)[..., 0])
    }  # fmt: skip
    files = [encoded(one, "PNG") for one in pictures.values()]
    files += [encoded(colour.convert("CMYK"), "JPEG"), encoded(colour, "JPEG", exif=turned)]
    for number, data in enumerate(files):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert torch.equal(decode_upload(data, 10_000), read_image(str(path)))
    assert decode_upload(files[-1], 45).shape == (3, 5, 9)


@given(
    form=st.sampled_from(["PNG", "BMP", "WEBP", "JPEG"]), place=st.floats(0, 1), what=st.binary(max_size=6),
    rest=st.booleans(),
)  # fmt: skip
def test_any_damage_is_an_image_or_one_line(form, place, what, rest):
    data = encoded(Image.fromarray(noise(9, 5)), form)
    start = int(place * len(data))
    try:
        image = decode_upload(data[:start] + what + (data[start + len(what) :] if rest else b""), max_pixels=1000)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert image.dtype == torch.uint8 and len(image) == 3 and 0 < image[0].numel() <= 1000


def test_a_png_keeps_every_pixel():
    image = torch.from_numpy(noise(9, 5)).permute(2, 0, 1)
    assert torch.equal(decode_upload(as_png(image), 45), image)


@pytest.mark.parametrize(("size", "shown"), [((100, 60), (100, 60)), ((2048, 1024), (512, 256)), ((3, 1500), (1, 512))])
def test_a_picture_is_shown_in_its_shape(size, shown):
    """(width, height); small ones are not enlarged."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2] = 200  # the upper half
    found = decoded(as_jpeg(torch.from_numpy(pixels).permute(2, 0, 1)))
    assert found.size == shown
    values = np.asarray(found)
    assert abs(values[: shown[1] // 3].mean() - 200) < 8 and values[-(shown[1] // 3) :].mean() < 8


@pytest.mark.parametrize("size", [(64, 32), (20, 70), (700, 900)])
def test_the_heat_map_is_over_what_is_attended(size):
    image = torch.full((3, *size), 128, dtype=torch.uint8)
    values = torch.zeros(4, 2)
    values[3, 0] = 1e-6  # the lower left; only the proportions of a map count
    drawn = overlay(image, values).float()
    assert drawn.shape[1] / drawn.shape[2] == pytest.approx(size[0] / size[1], rel=0.01)
    assert min(drawn.shape[1:]) >= 256 and max(drawn.shape[1:]) <= 1024
    height, width = drawn.shape[1] // 8, drawn.shape[2] // 4
    red, green, blue = drawn[:, -height, width].tolist()
    assert red > green and red > blue
    assert torch.equal(overlay(image, 0 * values), overlay(image, 0 * values)[:, :1, :1].expand(drawn.shape).byte())
