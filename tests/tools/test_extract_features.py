import runpy
from pathlib import Path

import numpy as np
import pytest

from dcal_reid.errors import InputError

TOOL = Path(__file__).parents[2] / "tools" / "extract_features.py"


@pytest.fixture
def run(run_folder):
    tool = runpy.run_path(str(TOOL))

    def run(*arguments):
        words = [*map(str, arguments), "--weights", str(run_folder / "model_final.pth"), "--device", "cpu"]
        tool["run"](tool["parser"]().parse_intermixed_args(words))

    return run


def test_a_source(run, crops, tmp_path, capsys):
    run(crops / "labels.csv", tmp_path / "all.npz", "TEST.IMS_PER_BATCH", "7")
    with np.load(tmp_path / "all.npz") as file:
        assert file["features"].shape == (40, 96)
        assert (file["identities"][5], file["cameras"][5]) == ("1", "0")
    assert "40/40" in capsys.readouterr().err


def test_a_split_of_a_dataset(run, crops, tmp_path):
    run("--dataset", "CSVReID", "--split", "query", tmp_path / "query.npz", "TEST.IMS_PER_BATCH", "7")
    with np.load(tmp_path / "query.npz") as file:
        assert [Path(path).name for path in file["paths"]] == [f"{identity}_0_0.png" for identity in range(6, 10)]
    run("--dataset", "CSVReID", tmp_path / "gallery.npz")
    assert len(np.load(tmp_path / "gallery.npz")["features"]) == 12


def test_several_processes_give_the_same_file(run, crops, tmp_path):
    run(crops, tmp_path / "one.npz")
    run(crops, tmp_path / "two.npz", "--num-gpus", "2")
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert one["paths"].tolist() == two["paths"].tolist()
        np.testing.assert_allclose(one["features"], two["features"], atol=1e-5)
    assert not (tmp_path / "two.npz.parts").exists()


def test_wrong_input(run, tmp_path):
    with pytest.raises(InputError, match=r"nowhere' not found"):
        run(tmp_path / "nowhere", tmp_path / "all.npz")
    with pytest.raises(InputError, match="SOURCE and OUTPUT are needed"):
        run(tmp_path / "all.npz")
