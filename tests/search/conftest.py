from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.search import image_records, parts


@pytest.fixture(autouse=True, scope="session")
def _one_thread(faiss_on_one_thread):
    """faiss uses one thread in every test of galleries."""


@pytest.fixture
def predictor(run_folder):
    return Predictor(run_folder / "model_final.pth", device="cpu")


@pytest.fixture
def other_predictor(run_folder):
    """A predictor with the same weights, but another read-out of the features."""
    return Predictor(run_folder / "model_final.pth", overrides=("TEST.FLIP.ENABLED", "True"), device="cpu")


@pytest.fixture
def skipping_predictor(run_folder):
    """A predictor that leaves broken images out."""
    overrides = ("DATALOADER.BROKEN_IMAGES", "skip", "TEST.IMS_PER_BATCH", "2")
    return Predictor(run_folder / "model_final.pth", overrides=overrides, device="cpu")


@pytest.fixture
def make_images(tmp_path):
    """Small images of noise under the given names, below ``tmp_path``."""

    def make(*names: str, folder: str = "images") -> Path:
        rng = np.random.default_rng(0)
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(path)
        return tmp_path / folder

    return make


@pytest.fixture
def small_parts(monkeypatch):
    """A batch has 5 images, and so a part has 5."""
    monkeypatch.setattr(parts, "_PART", 4)


@pytest.fixture
def records(crops):
    return image_records(crops / "labels.csv")


@pytest.fixture
def extracted(predictor, monkeypatch):
    """The paths that go through the model, in order."""
    seen, extract = [], predictor.extract

    def watched(paths):
        for batch in extract(paths):
            seen.extend(np.asarray(paths)[batch.indices].tolist())
            yield batch

    monkeypatch.setattr(predictor, "extract", watched)
    return seen
