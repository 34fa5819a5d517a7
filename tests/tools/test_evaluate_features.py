import json
from pathlib import Path

import numpy as np
import pytest
from helpers.forks import run_forked

import dcal_reid
from dcal_reid.evaluation import FeatureSet, score

TOOL = Path(__file__).parents[2] / "tools" / "evaluate_features.py"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 20, 300)
    values = rng.standard_normal((20, 24))[pids] + 1.5 * rng.standard_normal((300, 24))
    paths = np.array([f"{i}.jpg" for i in range(300)])
    path = tmp_path_factory.mktemp("run") / "features.npz"
    FeatureSet(values.astype(np.float32), pids, rng.integers(0, 4, 300), np.arange(300), paths, num_query=60).save(path)
    return path


def run(*arguments):
    return run_forked([TOOL, *arguments])


def test_scores_again_with_other_options(features, tmp_path):
    options = ["TEST.METRIC", "euclidean", "TEST.RERANK.ENABLED", "True", "TEST.ROC.ENABLED", "True"]
    done = run(features, "--json", tmp_path / "result.json", "--plot", tmp_path / "curves.png", *options)
    assert done.returncode == 0, done.stderr
    cfg = dcal_reid.get_cfg()
    cfg.merge_from_list(options)
    expected = score(FeatureSet.load(features), cfg.TEST)
    assert expected.table() in done.stdout
    assert expected.roc.table() in done.stdout
    assert "60 queries, 0 of them without a valid match; 240 gallery items; 4 cameras" in done.stdout
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["metrics"] == dict(expected.metrics())
    assert written["queries"]["paths"][:2] == ["0.jpg", "1.jpg"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("arguments", "message"), [
    (["none.npz"], "error: cannot read features from none.npz: No such file or directory"),
    (["none.npz", "TEST.METRIC", "jaccard"], "error: TEST.METRIC jaccard is not a metric of features"),
    (["none.npz", "--plot", "curves.xyz"], "error: 'curves.xyz' is not the name of a picture; end it in .png"),
    (["none.npz", "--json", "nowhere/a.json"], "error: 'nowhere/a.json' cannot be written or read: No such file"),
    (["none.npz", "TEST.METRICS", "cosine"], "error: configuration: there is no key TEST.METRICS; did you mean TEST"),
])  # fmt: skip
def test_wrong_input_gives_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stderr
