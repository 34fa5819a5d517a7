"""Extraction of features, from the images to the file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.search import extract_features, image_records
from dcal_reid.search.parts import extract_parts


def test_broken_images_are_an_error_or_left_out_and_listed(
    predictor, skipping_predictor, make_images, tmp_path, capsys
):
    folder = make_images(*(f"{number}.png" for number in range(9)))
    for number in (0, 1, 5):  # a whole batch, and one of a batch
        (folder / f"{number}.png").write_bytes(b"no image")
    records = image_records(folder)
    with pytest.raises(InputError, match=r"0\.png' cannot be decoded"):
        extract_features(predictor, records, tmp_path / "all.npz")
    extract_features(skipping_predictor, records, tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as file:
        assert [Path(path).stem for path in file["paths"]] == ["2", "3", "4", "6", "7", "8"]
        np.testing.assert_allclose(file["features"], skipping_predictor(file["paths"].tolist()), atol=1e-6)
    assert "3 images cannot be decoded and are left out" in capsys.readouterr().out
    assert (tmp_path / "all.npz.broken.txt").read_text().split() == [str(folder / f"{n}.png") for n in (0, 1, 5)]


def test_nothing_but_broken_images(skipping_predictor, make_images, tmp_path):
    folder = make_images("0.png")
    (folder / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 1 images can be decoded, first '.*0\.png'"):
        extract_features(skipping_predictor, image_records(folder), tmp_path / "all.npz")
    assert (tmp_path / "all.npz.broken.txt").read_text().split() == [str(folder / "0.png")]
    assert not (tmp_path / "all.npz.parts").exists()


def test_outputs_that_cannot_be_written(predictor, records, tmp_path, extracted):
    (tmp_path / "there.npz").touch()
    for output, message in [
        ("all.csv", r"written as \.npz or \.parquet, not as '.*all\.csv'"),
        ("none/all.npz", "folder '.*none' of OUTPUT not found"),
        ("there.npz", "exists; choose another OUTPUT, or give --overwrite"),
    ]:
        with pytest.raises(InputError, match=message):
            extract_features(predictor, records, tmp_path / output)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        extract_features(predictor, records, tmp_path / "folder.npz", overwrite=True)
    assert not extracted
    extract_features(predictor, records, tmp_path / "there.npz", overwrite=True)
    assert len(np.load(tmp_path / "there.npz")["features"]) == 40


@pytest.mark.usefixtures("small_parts")
def test_an_output_whose_name_is_not_utf8(skipping_predictor, make_images, tmp_path, capsys):
    folder = make_images("a.png", "b.png", "c.png", "d.png", "e.png")
    (folder / "b.png").write_bytes(b"no image")
    records, output = image_records(folder), f"{tmp_path}/\udcff.npz"
    with extract_parts(skipping_predictor, records, f"{output}.parts"):
        pass
    Image.new("RGB", (32, 64), "red").save(folder / "e.png")
    extract_features(skipping_predictor, records, output)
    out = capsys.readouterr().out
    assert out.count("?.npz.parts") == 2 and "?.npz.broken.txt" in out and "4 features of 96 values" in out
    assert len(np.load(output)["features"]) == 4
