import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dcal_reid.errors import InputError
from dcal_reid.evaluation import Records
from dcal_reid.search import extract_features, image_records
from dcal_reid.search.feature_file import feature_writer
from dcal_reid.search.parts import Part, Parts

pytestmark = pytest.mark.usefixtures("small_parts")


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


def contents(path):
    """Paths, identities, cameras, features and the fingerprint."""
    if path.suffix.lower() == ".npz":
        with np.load(path) as file:
            names = ("paths", "identities", "cameras", "features", "fingerprint")
            return [file[name].tolist() for name in names]
    table = pq.read_table(path)
    columns = [table[name].to_pylist() for name in ("path", "identity", "camera", "feature")]
    return [*columns, table.schema.metadata[b"fingerprint"].decode()]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@given(
    cuts=st.sets(st.integers(1, 8)),
    broken=st.sets(st.integers(0, 8)),
    labels=st.sampled_from([np.int32, np.int64, str]),
)
@example(cuts={2, 4}, broken={2, 3}, labels=str)  # a part without any features
@example(cuts=set(), broken=set(range(9)), labels=np.int64)
@settings(max_examples=8)
def test_rows_are_the_good_images_in_order(suffix, cuts, broken, labels):
    features = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    records = Records([f"nowhere/é{i}.jpg" for i in range(9)], np.arange(9).astype(labels), np.arange(8, -1, -1))
    good = [image for image in range(9) if image not in broken]
    with TemporaryDirectory() as folder:
        parts, path = Parts(folder, "model", records), Path(folder, f"all{suffix}")
        for start, stop in reversed([*pairwise([0, *sorted(cuts), 9])]):
            indices = np.array([image for image in good if start <= image < stop], dtype=np.int64)
            parts.write(Part(start, stop, indices, features[indices]))
        feature_writer(path)(parts, 3, path)
        columns = [column[good].tolist() for column in (records.paths, records.identities, records.cameras, features)]
        assert contents(path) == [*columns, "model"]


@pytest.mark.parametrize("name", ["all", "all.csv", "all.npz.gz", ".npz"])
def test_other_kinds_of_files(name):
    with pytest.raises(InputError, match=rf"features are written as \.npz or \.parquet, not as '{re.escape(name)}'"):
        feature_writer(name)


def test_parquet_needs_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r'pip install "dcal_reid\[parquet\]", or write an \.npz'):
        feature_writer("all.parquet")
    feature_writer("all.NPZ")
