import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation import Records
from dcal_reid.search import extract_features, image_records

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
