import io

import numpy as np
import pytest
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.serve import Settings

_ONCE = {}


def once(name, make):
    """The model and the images are the same in every test, because making them takes longer than most tests."""
    if name not in _ONCE:
        _ONCE[name] = make()
    return _ONCE[name]


@pytest.fixture
def predictor(request):
    def load():
        return Predictor(request.getfixturevalue("run_folder") / "model_final.pth", device="cpu")

    return once("predictor", load)


@pytest.fixture
def paths(crops):
    """40 images: IDENTITY_CAMERA_SHOT.png."""
    return sorted(crops.glob("*.png"))


@pytest.fixture
def gallery_folder(predictor, paths, tmp_path):
    """A gallery of these images; the camera of the last one is not known."""
    labels = [path.stem.split("_") for path in paths]
    cameras = [f"cam{camera}" for _, camera, _ in labels]
    cameras[-1] = ""
    records = Records([str(p) for p in paths], np.array([f"id{i}" for i, *_ in labels]), np.array(cameras))
    features = once("features", lambda: predictor([str(path) for path in paths]).numpy())
    FaissGallery.build(features, records, fingerprint=predictor.fingerprint).save(tmp_path / "gallery")
    return tmp_path / "gallery"


@pytest.fixture
def make_app(predictor, gallery_folder):
    """An application over the gallery, with some options."""
    pytest.importorskip("fastapi", reason='needs pip install "dcal_reid[serve]"')
    from dcal_reid.serve.app import create_app

    def make(**options):
        gallery = FaissGallery.open(gallery_folder, predictor.fingerprint)
        return create_app(predictor, gallery, Settings(**{"threshold": 0.1, **options}), gallery_folder)

    return make


@pytest.fixture
def make_client(make_app):
    """A client of such an application; errors in the server become answers with status 500."""
    from fastapi.testclient import TestClient

    clients = []

    def make(**options):
        client = TestClient(make_app(**options), base_url="http://localhost", raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def picture():
    """Noise of a given size, as a file in a given format."""

    def make(form="PNG", size=(32, 64), seed=0):
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, form)
        return buffer.getvalue()

    return make


@pytest.fixture
def uploads(tmp_path):
    return tmp_path / "uploads"
