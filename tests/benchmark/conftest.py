import pytest

from dcal_reid.benchmark import models, synthetic
from dcal_reid.benchmark.models import CASES, Case


@pytest.fixture
def toy(monkeypatch):
    """A toy size of a test set."""
    monkeypatch.setitem(synthetic.SIZES, "toy", (60, 700, 40, 4))


@pytest.fixture
def toys(monkeypatch):
    """Two cases of a three-block ViT that are measured quickly."""
    monkeypatch.setattr("dcal_reid.benchmark.operations._SHORTEST_RUN", 0.01)
    tiny = {"patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 3}
    for name, recipe in (("toy", models._REID), ("toy-classes", models._CLASSIFICATION)):
        monkeypatch.setitem(CASES, name, Case(name, "vit_tiny_patch16_224", (64, 32), 8, 8, 8, recipe, tiny))
