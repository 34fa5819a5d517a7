import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import dcal_reid
from dcal_reid import Predictor
from dcal_reid.data.images import as_image
from dcal_reid.data.transforms import build_transforms
from dcal_reid.export import export_onnx
from dcal_reid.export.onnx_predictor import OnnxPredictor

WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "timm", "fastreid", "dcal_reid"):
    sys.modules[name] = None
import numpy as np
from onnx_predictor import OnnxPredictor
predictor = OnnxPredictor("model.onnx", threads=1)
np.save("features.npy", predictor(sys.argv[1:]))
print(predictor.image_size, predictor.dim, predictor.fingerprint, predictor.class_names)
"""


def noise(height, width, channels=3):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def stored_images():
    """Pillow images of every mode, by name, and one that has to be turned."""
    colour = Image.fromarray(noise(31, 22))
    palette = colour.quantize(16)
    palette.info["transparency"] = 3
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    colour.save(file, "JPEG", exif=turned)
    return {mode: colour.convert(mode) for mode in ("RGB", "L", "1", "CMYK", "YCbCr", "HSV")} | {
        "RGBA": Image.fromarray(noise(31, 22, 4)),
        "LA": Image.fromarray(noise(31, 22, 4)).convert("LA"),
        "P": palette,
        "I;16": Image.fromarray(noise(31, 22, 2).view(np.uint16)[..., 0]),
        "turned": Image.open(file),
    }


@pytest.mark.parametrize(("resize", "crop"), [
    ([64, 32], None),
    ([20], [16, 18]),
    ([40, 40], [32, 32]),
    ([0], [50, 24]),  # no resize: some images are smaller than the crop
])  # fmt: skip
def test_pixels_are_those_of_the_test_transform(mean_colour, resize, crop):
    cfg = dcal_reid.get_cfg()
    cfg.INPUT.SIZE_TEST = resize
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = crop is not None, crop or [8, 8]
    transform = build_transforms(cfg, is_train=False)
    predictor = OnnxPredictor(mean_colour(crop or resize, resize if resize[0] else None, crop), threads=1)
    images = [noise(*size) for size in [(64, 32), (300, 171), (31, 33), (1, 5), (7, 1), (128, 64)]]
    images += stored_images().values()
    for image in images:
        expected = transform(as_image(image)).numpy()
        np.testing.assert_array_equal(predictor.preprocess([image])[0], expected)


def test_an_image_may_come_as_anything(mean_colour, tmp_path):
    predictor = OnnxPredictor(mean_colour([8, 8], [8, 8], None), batch_size=2, threads=1)
    array = noise(8, 8)
    Image.fromarray(array).save(tmp_path / "a.png")
    expected = array.mean(axis=(0, 1))[None]
    forms = [str(tmp_path / "a.png"), tmp_path / "a.png", Image.fromarray(array), array]
    for form in forms:
        np.testing.assert_allclose(predictor(form), expected, rtol=1e-5)
    np.testing.assert_allclose(predictor([*forms, array]), expected.repeat(5, axis=0), rtol=1e-5)
    np.testing.assert_allclose(predictor(array[..., 0]), expected[:, [0, 0, 0]], rtol=1e-5)
    assert predictor([]).shape == (0, predictor.dim) == (0, 3)


def test_what_is_no_image(mean_colour, tmp_path):
    predictor = OnnxPredictor(mean_colour([8, 8], [8, 8], None), threads=1)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for image, message in [
        (np.zeros((4, 4, 3)), r"not a ndarray float64 \(4, 4, 3\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"not a ndarray uint8 \(0, 4, 3\)"),
        ([3], "not a int"),
        (broken, r"broken\.jpg' cannot be decoded"),
        ("none.jpg", r"none\.jpg' cannot be decoded: .*No such file"),
        (Image.new("F", (4, 4)), "32-bit floating-point"),
    ]:
        with pytest.raises(ValueError, match=message):
            predictor(image)


def test_what_is_no_model(mean_colour, tmp_path):
    with pytest.raises(ValueError, match=r"none\.onnx' not found"):
        OnnxPredictor(tmp_path / "none.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"damaged\.onnx' cannot be loaded"):
        OnnxPredictor(damaged)
    with pytest.raises(ValueError, match=r"is of version 7, this reads version 1: write it again"):
        OnnxPredictor(mean_colour([8, 8], [8, 8], None, dcal_reid="7"))


def test_without_torch(class_run_folder, tmp_path):
    predictor = Predictor(class_run_folder / "model_final.pth")
    folder = tmp_path / "deployed"
    folder.mkdir()
    export_onnx(predictor, folder / "model.onnx", with_predictor=True)
    paths = sorted(map(str, (tmp_path / "images" / "val").rglob("*.png")))
    command = [sys.executable, "-c", WITHOUT_TORCH, *paths]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == (f"(32, 32) 4 {predictor.fingerprint} ['blue', 'green', 'grey', 'red']")
    np.testing.assert_allclose(np.load(folder / "features.npy"), predictor(paths).numpy(), rtol=1e-3, atol=1e-5)
