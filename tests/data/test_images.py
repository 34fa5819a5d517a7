"""Decoding: every mode to RGB, and errors that name the file. Audit, section 2, row 10."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dcal_reid.data.images import as_image, read_image
from dcal_reid.errors import InputError


def smooth(width=12, height=20, channels=3, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 2, channels), dtype=np.uint8).squeeze()
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return str(path)


def as_tensor(image):
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def test_rgb_is_read_as_it_is(tmp_path):
    image = smooth()
    pixels = read_image(saved(tmp_path, image, "a.png"))
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 20, 12)
    assert torch.equal(pixels, as_tensor(image))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_modes_without_alpha(tmp_path, mode):
    """fast-reid gives the indices of a palette image instead of its colours."""
    image = smooth().convert(mode)
    assert torch.equal(read_image(saved(tmp_path, image, "a.png")), as_tensor(image))


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpeg_that_is_not_rgb(tmp_path, mode):
    """fast-reid gives a CMYK image four channels."""
    path = saved(tmp_path, smooth().convert(mode), "a.jpg")
    assert torch.equal(read_image(path), as_tensor(Image.open(path)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_over_black(tmp_path, mode):
    """fast-reid gives RGBA four channels and LA two; dropping alpha would show the hidden colours."""
    colour = smooth().convert("RGB" if mode == "RGBA" else "L")
    alpha = Image.fromarray(np.repeat(np.array([[0], [128], [255], [255]], np.uint8), 12, 1)).resize((12, 20), 0)
    image = colour.copy()
    image.putalpha(alpha)
    assert image.mode == mode
    pixels = read_image(saved(tmp_path, image, "a.png")).float()
    expected = as_tensor(colour).float() * torch.from_numpy(np.array(alpha)).float() / 255
    assert pixels.shape == (3, 20, 12)
    assert (pixels - expected).abs().max() <= 1
    assert pixels[:, :4].max() == 0


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    pixels = read_image(saved(tmp_path, image, "a.png", transparency=0))
    assert pixels[:, 0, 0].tolist() == [0, 0, 0] and pixels[:, 0, 1].tolist() == [0, 255, 0]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    values = np.array([[0, 128, 129, 256, 257], [1000, 32768, 65278, 65407, 65535]], np.uint16)
    pixels = read_image(saved(tmp_path, Image.fromarray(values), name))
    assert pixels.shape == (3, 2, 5)
    expected = torch.from_numpy(np.round(values / 257).astype(np.uint8))
    assert all(torch.equal(channel, expected) for channel in pixels)


@pytest.mark.parametrize("values", [np.full((2, 2), 0.5, np.float32), np.full((2, 2), 70000, np.int32)])
def test_pixels_without_a_known_range_are_refused(tmp_path, values):
    path = saved(tmp_path, Image.fromarray(values), "a.tif")
    with pytest.raises(InputError, match=r"a\.tif.* cannot be decoded"):
        read_image(path)
    with pytest.raises(InputError, match=r"'in memory' cannot be decoded: .*(fixed range|not 16-bit)"):
        as_image(Image.fromarray(values))


def test_a_truncated_image_that_pillow_has_opened_is_named(tmp_path):
    path = saved(tmp_path, smooth(), "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-80])
    with Image.open(path) as image, pytest.raises(InputError, match=r"a\.png' cannot be decoded"):
        as_image(image)


def test_what_is_no_image_is_told_what_is_one():
    with pytest.raises(
        InputError, match=r"an array \(H, W, 3\) or \(H, W\), .* of uint8, not a ndarray float64 \(2, 2\)"
    ):
        as_image(np.zeros((2, 2)))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x112] = orientation
    path = saved(tmp_path, smooth(), f"a.{suffix}", exif=exif)
    pixels = read_image(path)
    assert pixels.shape == ((3, 20, 12) if orientation < 5 else (3, 12, 20))
    assert torch.equal(pixels, as_tensor(ImageOps.exif_transpose(Image.open(path))))


def test_damaged_exif_does_not_lose_the_image(tmp_path):
    image = smooth()
    path = saved(tmp_path, image, "a.png", exif=b"Exif\x00\x00nonsense")
    assert torch.equal(read_image(path), as_tensor(image))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert torch.equal(read_image(path), as_tensor(frames[0]))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_image_is_named(tmp_path, suffix, kept):
    buffer = io.BytesIO()
    smooth(200, 200).save(buffer, {"jpg": "JPEG", "png": "PNG"}[suffix])
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(buffer.getvalue()[: int(kept * len(buffer.getvalue()))])
    with pytest.raises(InputError, match=rf"broken\.{suffix}.*BROKEN_IMAGES") as caught:
        read_image(str(path))
    assert "\n" not in str(caught.value)


def test_empty_missing_and_no_image(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    smooth(8, 8).save(tmp_path / "ppm.jpg", "PPM")  # a format that Pillow could read
    (tmp_path / "folder.jpg").mkdir()
    expected = {
        "empty": "0 bytes",
        "text": "it is none of JPEG, PNG",
        "ppm": "it is none of JPEG, PNG",
        "folder": "cannot be read",
        "missing": "No such file",
    }
    for name, reason in expected.items():
        with pytest.raises(InputError, match=rf"{name}\.jpg.*{reason}"):
            read_image(str(tmp_path / f"{name}.jpg"))
