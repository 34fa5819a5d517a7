from contextlib import nullcontext

import numpy as np
import pytest

from dcal_reid import Predictor
from dcal_reid.benchmark import serve
from dcal_reid.benchmark.serve import benchmark_serve
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records

pytest.importorskip("uvicorn", reason='needs pip install "dcal_reid[serve]"')


@pytest.fixture
def gallery(run_folder, crops, tmp_path):
    predictor = Predictor(run_folder / "model_final.pth", device="cpu")
    paths = [str(path) for path in sorted(crops.glob("*.png"))]
    records = Records(paths, np.arange(40) // 4, np.arange(40) // 2 % 2)
    FaissGallery.build(predictor(paths), records, fingerprint=predictor.fingerprint).save(tmp_path / "gallery")
    return str(tmp_path / "gallery")


def test_serve(gallery, run_folder, crops, capsys):
    found = benchmark_serve(
        gallery, str(run_folder / "model_final.pth"), str(crops), clients=8, requests=40, device="cpu"
    )
    assert (found["clients"], found["searches"], found["errors"]) == (8, 40, 0)
    assert 1 <= found["images per model call"] <= 8
    assert 0 < found["median (ms)"] <= found["p95 (ms)"] <= found["p99 (ms)"]
    assert found["searches/s"] > 0
    assert "Search server, 40 different queries, k = 20" in capsys.readouterr().out


def test_one_client_alone_makes_all_searches(crops, monkeypatch):
    monkeypatch.setattr(serve, "_server", lambda *args: nullcontext(1))
    monkeypatch.setattr(serve, "_ask", lambda port, bodies: [(0.01, 200)] * len(bodies))
    monkeypatch.setattr(serve, "_counters", lambda port: dict.fromkeys(serve._COUNTERS, 0))
    assert benchmark_serve("", "", str(crops), clients=1, requests=40)["searches"] == 40


def test_wrong_input(gallery, run_folder, crops, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.jpg or \.png file"):
        benchmark_serve(gallery, "", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="0 clients and 10 searches"):
        benchmark_serve(gallery, "", str(crops), clients=0, requests=10)
    with pytest.raises(InputError, match=r"the server does not start: error: checkpoint 'none\.pth' not found"):
        benchmark_serve(gallery, "none.pth", str(crops), device="cpu")
