import shutil

import numpy as np
import pytest

from dcal_reid.benchmark.fastreid_cython import compiled_ranking
from dcal_reid.errors import InputError
from dcal_reid.evaluation.ranking import rank_matrix


def test_fastreids_compiled_ranking():
    pytest.importorskip("Cython")
    try:
        compiled = compiled_ranking()
    except InputError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(0)
    matrix = rng.random((20, 100)).astype(np.float32)
    labels = rng.integers(0, 6, 20), rng.integers(0, 6, 100), rng.integers(0, 3, 20), rng.integers(0, 3, 100)
    cmc, ap, _ = compiled(matrix, *labels, 50)
    result = rank_matrix(matrix, *labels)
    np.testing.assert_allclose(cmc, result.cmc(50), rtol=1e-5)
    np.testing.assert_allclose(np.mean(ap), result.mAP, rtol=1e-5)


def test_without_a_compiler_there_is_one_line_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(InputError, match=r"cannot be compiled \(it needs pip install cython and gcc\): no message$"):
        compiled_ranking()
    assert list(tmp_path.iterdir()) == []
