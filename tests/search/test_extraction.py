"""Features to one file: complete, in order, and resumed."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.evaluation import Records
from dcal_reid.search import extract_features, image_records, parts
from dcal_reid.search.parts import Part


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """A batch is of 5 images, so a part is of 5."""
    monkeypatch.setattr(parts, "_PART", 4)


@pytest.fixture
def records(crops):
    return image_records(crops / "labels.csv")


@pytest.fixture
def extracted(predictor, monkeypatch):
    """The paths that go through the model, in order."""
    seen, extract = [], predictor.extract

    def watched(paths):
        for batch in extract(paths):
            seen.extend(np.asarray(paths)[batch.indices].tolist())
            yield batch

    monkeypatch.setattr(predictor, "extract", watched)
    return seen


def test_npz(predictor, records, tmp_path, capsys):
    output = tmp_path / "all.npz"
    extract_features(predictor, records, output)
    with np.load(output) as file:
        np.testing.assert_allclose(file["features"], predictor(records.paths.tolist()), atol=1e-6)
        for name in ("paths", "identities", "cameras"):
            assert file[name].tolist() == getattr(records, name).tolist()
        assert file["fingerprint"] == predictor.fingerprint
    assert "40 features of 96 values" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir() if "all" in path.name) == ["all.npz"]


def test_parquet(predictor, records, tmp_path):
    numbered = Records(records.paths, records.identities.astype(int), records.cameras)
    extract_features(predictor, numbered, tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    assert table.column_names == ["path", "identity", "camera", "feature"]
    assert table["path"].to_pylist() == records.paths.tolist()
    assert table["identity"].to_pylist() == numbered.identities.tolist()
    assert table["camera"].to_pylist() == records.cameras.tolist()
    np.testing.assert_allclose(table["feature"].to_pylist(), predictor(records.paths.tolist()), atol=1e-6)
    assert table.schema.metadata[b"fingerprint"].decode() == predictor.fingerprint
    assert pq.ParquetFile(tmp_path / "all.parquet").num_row_groups == 8


def test_an_interrupted_run_goes_on(predictor, records, tmp_path, extracted, monkeypatch, capsys):
    extract_features(predictor, records, tmp_path / "whole.npz")
    extracted.clear()
    write = parts.Parts.write
    monkeypatch.setattr(parts.Parts, "write", lambda self, part: write(self, part) if part.start < 15 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract_features(predictor, records, tmp_path / "all.npz")
    assert not (tmp_path / "all.npz").exists()
    # What another process has done, and what a kill in the middle of a write leaves.
    folder = tmp_path / "all.npz.parts"
    (folder / "0000000005-0000000010.npz").rename(folder / ".0000000005-0000000010.npz.99.tmp")
    monkeypatch.setattr(parts.Parts, "write", write)
    extracted.clear()
    extract_features(predictor, records, tmp_path / "all.npz")
    assert extracted == records.paths[[*range(5, 10), *range(15, 40)]].tolist()
    assert "10 of 40 images are in" in capsys.readouterr().out
    with np.load(tmp_path / "all.npz") as found, np.load(tmp_path / "whole.npz") as expected:
        assert all(np.array_equal(found[name], expected[name]) for name in expected.files)
    assert not folder.exists()


def test_images_that_changed_after_an_interruption_are_extracted_again(
    predictor, records, tmp_path, extracted, crops, capsys
):
    with parts.extract_parts(predictor, records, tmp_path / "all.npz.parts"):
        pass
    Image.new("RGB", (32, 64), "red").save(crops / "1_0_0.png")  # the sixth of the list
    size_as_before = crops / "9_1_1.png"
    os.utime(size_as_before, ns=(0, size_as_before.stat().st_mtime_ns + 1))
    extracted.clear()
    extract_features(predictor, records, tmp_path / "all.npz")
    changed = [records.paths.tolist().index(str(crops / name)) // 5 * 5 for name in ("1_0_0.png", "9_1_1.png")]
    assert extracted == records.paths[[*range(changed[0], changed[0] + 5), *range(changed[1], changed[1] + 5)]].tolist()
    assert "have changed since their features were written" in capsys.readouterr().out
    with np.load(tmp_path / "all.npz") as file:
        np.testing.assert_allclose(file["features"], predictor(records.paths.tolist()), atol=1e-6)


def test_a_folder_in_which_nothing_could_be_written_is_no_obstacle(predictor, records, tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(parts, "written_atomically", full)
        extract_features(predictor, records, tmp_path / "all.npz")
    folder = tmp_path / "all.npz.parts"
    assert not list(folder.iterdir())
    (folder / ".parts.json.99.tmp").touch()  # of a process that was killed
    extract_features(predictor, records, tmp_path / "all.npz")
    folder.mkdir()
    (folder / "mine.txt").touch()
    with pytest.raises(InputError, match="is not a folder of unfinished features"):
        extract_features(predictor, records, tmp_path / "all.npz", overwrite=True)
    assert (folder / "mine.txt").exists()


def test_two_jobs_do_not_write_to_one_output(predictor, records, tmp_path, extracted):
    pytest.importorskip("fcntl", reason="locks of files are POSIX")
    with parts.extract_parts(predictor, records, tmp_path / "all.npz.parts"):
        extracted.clear()
        with pytest.raises(InputError, match=r"another job is at work in '.*all\.npz\.parts'; wait until it has ended"):
            extract_features(predictor, records, tmp_path / "all.npz")
    extract_features(predictor, records, tmp_path / "all.npz")
    assert not extracted


def test_an_image_that_is_in_two_parts_is_not_written_twice(predictor, records, tmp_path):
    """As where the file system has no locks."""
    with parts.extract_parts(predictor, records, tmp_path / "all.npz.parts") as done:
        part = next(iter(done))
        done.write(Part(1, 4, part.indices[1:4], part.features[1:4]))
        assert not done.missing()
    with pytest.raises(InputError, match="holds features of 43 images, some perhaps twice, and the list has 40"):
        extract_features(predictor, records, tmp_path / "all.npz")
    assert not (tmp_path / "all.npz").exists()


def test_an_interrupt_says_how_to_go_on(predictor, records, tmp_path, monkeypatch, capsys):
    def interrupted(paths):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(predictor, "extract", interrupted)
    with pytest.raises(SystemExit) as error:
        extract_features(predictor, records, tmp_path / "all.npz")
    assert error.value.code == 130 and "the same command goes on" in capsys.readouterr().err


def test_parts_of_another_model_or_list_are_refused(predictor, other_predictor, records, tmp_path):
    with parts.extract_parts(predictor, records, tmp_path / "all.npz.parts"):
        pass
    with pytest.raises(InputError, match=f"of model {predictor.fingerprint}, this is {other_predictor.fingerprint}"):
        extract_features(other_predictor, records, tmp_path / "all.npz")
    fewer = records[:30]
    with pytest.raises(InputError, match=r"another list of 40 images, this one has 30; .* delete '.*all\.npz\.parts'"):
        extract_features(predictor, fewer, tmp_path / "all.npz")
    with pytest.raises(InputError, match="another list of 40 images, this one has 40"):
        extract_features(predictor, records[::-1], tmp_path / "all.npz")
    (tmp_path / "all.npz.parts" / "parts.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match="is not a folder of unfinished features"):
        extract_features(predictor, records, tmp_path / "all.npz")


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


def test_names_that_are_not_utf8(skipping_predictor, make_images, tmp_path):
    folder = make_images("a.png", "b.png")
    (folder / "a.png").rename(f"{folder}/\udcff.png")
    Path(f"{folder}/\udcfe.png").write_bytes(b"no image")
    records = image_records(folder)
    with pytest.raises(InputError, match=r"\.parquet holds UTF-8 only, which .*udcf.* is not; write an \.npz"):
        extract_features(skipping_predictor, records, tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet.parts").exists()
    extract_features(skipping_predictor, records, tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as file:
        assert sorted(file["paths"].tolist()) == [f"{folder}/b.png", f"{folder}/\udcff.png"]
    assert (tmp_path / "all.npz.broken.txt").read_bytes() == os.fsencode(f"{folder}/\udcfe.png\n")


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
    assert not extracted
    extract_features(predictor, records, tmp_path / "there.npz", overwrite=True)
    assert len(np.load(tmp_path / "there.npz")["features"]) == 40
