import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dcal_reid import Predictor
from dcal_reid.evaluation import FeatureSet

TOOL = Path(__file__).parents[2] / "tools" / "compare.py"


@pytest.fixture
def compare(run_folder, crops, capsys):
    """Status, output and error message."""
    tool = runpy.run_path(str(TOOL))

    def compare(*arguments, first="0_0_0.png", second="0_1_0.png"):
        words = [crops / first, crops / second, *arguments, "--weights", run_folder / "model_final.pth"]
        with pytest.raises(SystemExit) as status:
            tool["run"](tool["parser"]().parse_intermixed_args([*map(str, words), "--device", "cpu"]))
        captured = capsys.readouterr()
        return status.value.code, captured.out, captured.err

    return compare


def feature_file(path, distances, dim=96):
    """One query of identity 0, a match, and negatives at the given cosine distances."""
    angles = np.arccos(1 - np.array([0, 0.2, *distances]))
    features = np.zeros((len(angles), dim), dtype=np.float32)
    features[:, 0], features[:, 1] = np.cos(angles), np.sin(angles)
    pids = np.array([0, 0, *range(1, len(distances) + 1)])
    paths = np.array([f"{number}.jpg" for number in range(len(angles))])
    FeatureSet(features, pids, np.arange(len(angles)), np.arange(len(angles)), paths, num_query=1).save(path)
    return path


def test_a_given_threshold(compare, run_folder, crops):
    features = Predictor(run_folder / "model_final.pth", device="cpu")([str(crops / f"0_{c}_0.png") for c in (0, 1)])
    distance = 1 - torch.cosine_similarity(*features, dim=0).item()
    status, output, _ = compare("--threshold", distance + 1e-4)
    assert status == 0 and output.startswith("match\n")
    assert f"cosine distance {distance:.4f}, similarity {1 - distance:.4f}" in output
    assert "as given with --threshold" in output
    status, output, _ = compare("--threshold", distance - 1e-4)
    assert status == 1 and output.startswith("no match\n")


def test_a_threshold_at_a_false_accept_rate(compare, tmp_path):
    features = feature_file(f"{tmp_path}/\udcff.npz", np.linspace(0.1, 1.0, 10))  # a name that is not UTF-8
    status, output, _ = compare("--features", features, "--far", "0.3", second="0_0_0.png")
    assert status == 0
    # Three negatives are below the fourth; the one match at 0.2 is below it too.
    assert "threshold 0.4000 from" in output and "/?.npz: " in output
    assert "accepts at most 30 % of negative pairs (3 of 10) and 100.0 % of 1 positive pairs" in output


def test_features_of_another_model_are_refused(compare, run_folder, crops, tmp_path):
    images = [str(crops / f"{identity}_{camera}_0.png") for camera in (0, 1) for identity in range(10)]
    pids = np.tile(np.arange(10), 2)
    features = Predictor(run_folder / "model_final.pth", device="cpu")(images).numpy()
    for name, values in (("this", features), ("another", np.roll(features, 7, axis=1))):
        data = FeatureSet(values, pids, np.arange(20) // 10, np.arange(20), np.array(images), num_query=10)
        data.save(tmp_path / f"{name}.npz")
    assert compare("--features", tmp_path / "this.npz", "--far", "0.1")[0] in (0, 1)
    status, _, error = compare("--features", tmp_path / "another.npz", "--far", "0.1")
    assert status == 2 and "another.npz has the features of another model" in error and "0_0_0.png" in error


def test_errors_have_a_status_of_their_own(compare, tmp_path, crops):
    features = feature_file(tmp_path / "features.npz", np.linspace(0.1, 1.0, 10))
    other = feature_file(tmp_path / "other.npz", np.linspace(0.1, 1.0, 10), dim=7)
    (crops / "broken.png").write_bytes(b"")
    for arguments, second, message in [
        (["--features", features], "0_1_0.png", "--far 0.001 is less than one in 10, the number of negative pairs"),
        (["--features", other, "--far", "0.3"], "0_1_0.png", "features of 7 values, this model gives 96"),
        (["--features", tmp_path / "none.npz"], "0_1_0.png", "cannot read features from"),
        ([], "0_1_0.png", "give --features of an evaluation"),
        (["--threshold", "-1"], "0_1_0.png", "it is a distance, so give a number above 0"),
        (["--threshold", "0.3"], "broken.png", "broken.png' is empty"),
        (["--threshold", "0.3", "TEST.METRIC", "jaccard"], "0_1_0.png", "TEST.METRIC"),
    ]:
        status, output, error = compare(*arguments, second=second)
        assert (status, output) == (2, "") and error.startswith("error: ") and message in error


def test_what_nobody_foresaw_is_not_taken_for_no_match(compare, monkeypatch):
    def fail(*args):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("dcal_reid.search.verification.feature_predictor", fail)
    status, output, error = compare("--threshold", "0.3")
    assert (status, output) == (2, "") and error.startswith("Traceback") and "CUDA out of memory" in error


def test_a_python_without_the_package_cannot_say():
    words = [sys.executable, "-I", "-S", TOOL, "a.jpg", "b.jpg", "--threshold", "0.3"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "No module named 'dcal_reid'" in ended.stderr


def test_a_file_that_the_system_refuses_has_the_status_of_an_error(compare, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied", "model.pth")

    monkeypatch.setattr("dcal_reid.search.verification.feature_predictor", refuse)
    status, output, error = compare("--threshold", "0.3")
    message = "error: 'model.pth' cannot be written or read: Permission denied\n"
    assert (status, output, error) == (2, "", message)
