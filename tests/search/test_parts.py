"""Features on disk: complete, in order, and resumed."""

import errno
import json
import os
from collections import Counter
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.evaluation import Records
from dcal_reid.search import extract_features, parts
from dcal_reid.search.parts import Part, Parts, extract_parts

pytestmark = pytest.mark.usefixtures("small_parts")


def test_an_interrupted_run_goes_on(predictor, records, tmp_path, extracted, monkeypatch, capsys):
    extract_features(predictor, records, tmp_path / "whole.npz")
    extracted.clear()
    write = parts.Parts.write
    monkeypatch.setattr(parts.Parts, "write", lambda self, part: write(self, part) if part.start < 15 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract_features(predictor, records, tmp_path / "all.npz")
    assert not (tmp_path / "all.npz").exists()
    # The work of another process, and what a kill in the middle of a write leaves.
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
    """As on file systems without locks."""
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
    assert error.value.code == 130 and "run the same command again to continue" in capsys.readouterr().err


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


@given(spans=st.sets(st.tuples(st.integers(0, 11), st.integers(1, 5)), max_size=6) | st.just({(0, 5), (5, 4), (9, 3)}))
@settings(max_examples=12)
def test_each_image_must_be_in_one_part(spans):
    """For any parts, against counting."""
    images = Records([f"nowhere/{number}.jpg" for number in range(12)], [-1] * 12, [-1] * 12)
    times = Counter()
    with TemporaryDirectory() as folder:
        parts = Parts(folder, "model", images)
        for start, size in {(start, min(size, 12 - start)) for start, size in spans}:
            indices = np.arange(start, start + size)
            parts.write(Part(start, start + size, indices, indices[:, None].astype(np.float32)))
            times.update(indices.tolist())
        assert [image for gap in parts.missing() for image in gap] == [image for image in range(12) if not times[image]]
        if all(times[image] == 1 for image in range(12)):
            assert parts.good().tolist() == list(range(12))
            assert [value for part in parts for value in part.features[:, 0].tolist()] == list(range(12))
        else:
            with pytest.raises(InputError, match=f"holds features of {times.total()} images"):
                parts.good()


def test_what_is_known_of_an_image_may_change_after_an_interruption(predictor, records, tmp_path, extracted):
    with extract_parts(predictor, records, tmp_path / "all.npz.parts"):
        extracted.clear()
    renamed = Records(records.paths, np.arange(40), records.cameras)
    extract_features(predictor, renamed, tmp_path / "all.npz")
    assert not extracted and np.load(tmp_path / "all.npz")["identities"].tolist() == list(range(40))
