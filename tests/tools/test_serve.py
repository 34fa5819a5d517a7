"""tools/serve.py from its command line to the application that uvicorn gets."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records

uvicorn = pytest.importorskip("uvicorn", reason='needs pip install "dcal_reid[serve]"')
testclient = pytest.importorskip("fastapi.testclient", reason='needs pip install "dcal_reid[serve]"')

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "serve.py"))


@pytest.fixture
def weights(run_folder):
    return str(run_folder / "model_final.pth")


@pytest.fixture
def gallery(weights, crops, tmp_path):
    paths = [str(path) for path in sorted(crops.glob("*_0.png"))]
    identities = np.array([Path(path).name[0] for path in paths])
    predictor = Predictor(weights, device="cpu")
    gallery = FaissGallery.build(predictor(paths), Records(paths, identities, identities),
                                 fingerprint=predictor.fingerprint)  # fmt: skip
    gallery.save(tmp_path / "gallery")
    return str(tmp_path / "gallery")


@pytest.fixture
def served(monkeypatch):
    """What uvicorn would have run."""
    calls = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append((app, options)))
    return calls


def run(*command):
    TOOL["run"](TOOL["parser"]().parse_intermixed_args(list(command)))


def test_serve(gallery, weights, served, tmp_path, caplog):
    run(gallery, "--weights", weights, "--device", "cpu", "--host", "192.168.1.5", "--port", "9000", "--allow-add",
        "--uploads", str(tmp_path / "added"), "--max-upload-mib", "0.5", "TEST.IMS_PER_BATCH", "3")  # fmt: skip
    ((app, options),) = served
    assert (options["host"], options["port"]) == ("192.168.1.5", 9000)
    assert "There is no password" in caplog.text
    with testclient.TestClient(app, base_url="http://192.168.1.5:9000") as client:
        info = client.get("/gallery").json()
        assert (info["size"], info["allow_add"], info["max_upload_bytes"]) == (20, True, 2**19)
        assert info["threshold"] > 0 and info["false_positive_rate"] == 0.01


def test_a_model_for_classification_has_no_features(class_run_folder, tmp_path, served):
    with pytest.raises(InputError, match="this model gives probabilities of classes"):
        run(str(tmp_path), "--weights", str(class_run_folder / "model_final.pth"), "--device", "cpu")
    assert not served


def test_wrong_commands(gallery, weights, served, tmp_path, monkeypatch):
    for command, message in (
        ((str(tmp_path / "none"), "--weights", weights), "is not a gallery"),
        ((gallery, "--weights", weights, "TEST.FLIP.ENABLED", "True"), "holds features of model"),
        ((gallery, "--weights", weights, "--allow-add"), "--allow-add and --uploads DIR go together"),
        ((gallery, "--weights", weights, "--max-upload-mib", "inf"), "--max-upload-mib is inf; give a number above 0"),
        ((gallery, "--weights", weights, "--host", "0.0.0.0"), "--allowed-hosts"),
    ):
        with pytest.raises(InputError, match=message):
            run(*command)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r'uvicorn is missing; run pip install "dcal_reid\[serve\]"'):
        run(gallery, "--weights", weights)
    assert not served
