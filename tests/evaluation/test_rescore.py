import json
import subprocess
import sys

import numpy as np
import pytest

import dcal_reid
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FeatureSet, score
from dcal_reid.evaluation.rescore import rescore


@pytest.fixture
def options():
    cfg = dcal_reid.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.fixture
def data():
    """Images 0 and 12 of the data set are missing, query 5 has no match, and a name is not UTF-8."""
    rng = np.random.default_rng(0)
    indices = np.setdiff1d(np.arange(80), [0, 12])
    pids = rng.integers(0, 6, 78)
    features = rng.standard_normal((6, 8))[pids] + rng.standard_normal((78, 8))
    pids[4] = 99
    paths = np.array([f"Stra\udcdfe/{i}.jpg" for i in indices])
    return FeatureSet(features.astype(np.float32), pids, rng.integers(0, 3, 78), indices, paths, num_query=20)


@pytest.fixture
def file(data, tmp_path):
    data.save(tmp_path / "features.npz")
    return tmp_path / "features.npz"


@pytest.mark.parametrize("roc", [False, True])
def test_prints_what_scoring_gives(data, file, options, roc, capsys):
    options.TEST.ROC.ENABLED, options.TEST.METRIC = roc, "euclidean"
    result, expected = rescore(str(file), options), score(data, options.TEST)
    assert np.array_equal(result.ap, expected.ap, equal_nan=True) and result.metrics() == expected.metrics()
    tables = [expected.describe(), "", expected.table(), *(["", expected.roc.table()] if roc else [])]
    assert capsys.readouterr().out == "\n".join(tables) + "\n"


def test_the_file_has_each_query_under_its_own_name(data, file, options, tmp_path):
    result = rescore(str(file), options, json_path=str(tmp_path / "result.json"))
    written = json.loads((tmp_path / "result.json").read_text())
    queries = written["queries"]
    assert {len(column) for name, column in queries.items() if name != "unanswered"} == {18}
    assert queries["indices"] == [i for i in range(20) if i not in (0, 12)]
    assert queries["paths"][:2] == ["Stra\udcdfe/1.jpg", "Stra\udcdfe/2.jpg"]
    # NaN is not valid JSON.
    assert queries["unanswered"] == [4] and queries["ap"][4] is None and queries["first_rank"][4] == 0
    assert queries["ap"][5] == result.ap[5] and written["metrics"] == dict(result.metrics())


@pytest.mark.parametrize("key", ["json_path", "plot_path"])
def test_what_cannot_be_written_is_told_before_the_work(options, key, tmp_path):
    """There are no features, and nothing looked for them."""
    (tmp_path / "file").touch()
    with pytest.raises((InputError, OSError), match=r"file.x\.png"):
        rescore(str(tmp_path / "none.npz"), options, **{key: str(tmp_path / "file" / "x.png")})


def test_a_result_that_was_there_is_kept_where_there_is_no_new_one(file, options, tmp_path):
    (tmp_path / "result.json").write_text("before")
    options.TEST.AQE.ENABLED, options.TEST.AQE.QE_K = True, 0
    with pytest.raises(InputError, match="query expansion"):
        rescore(str(file), options, json_path=str(tmp_path / "result.json"))
    with pytest.raises(InputError, match="cannot read features"):
        rescore(str(tmp_path / "none.npz"), dcal_reid.get_cfg(), json_path=str(tmp_path / "result.json"))
    assert (tmp_path / "result.json").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.npz", "result.json"]


def test_scoring_again_needs_no_matplotlib():
    code = "import sys, dcal_reid.evaluation.rescore; assert 'matplotlib' not in sys.modules, 'imported too early'"
    subprocess.run([sys.executable, "-c", code], check=True)
