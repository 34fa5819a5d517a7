from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcal_reid.benchmark import data
from dcal_reid.benchmark.data import CROPS, Crops, benchmark_data, loader_config, write_images
from dcal_reid.engine.setup import load_config
from dcal_reid.errors import InputError


@pytest.fixture
def small(monkeypatch):
    """The same augmentations on smaller files and images."""
    monkeypatch.setitem(CROPS, "toy", Crops((32, 16), (64, 32), CROPS["persons"].augmentation))


def test_data(small, capsys):
    threads = torch.get_num_threads()
    ratios = benchmark_data(["toy"], batch=8, repeats=1, batches=1)
    assert set(ratios) == {"toy"} and 0.05 < ratios["toy"] < 100
    out = capsys.readouterr().out
    assert "Loader, toy: JPEG 32x16 to 8 x 3 x 64 x 32, one core" in out
    assert "| ours " in out and "| fast-reid " in out
    assert torch.get_num_threads() == threads


def test_images(tmp_path):
    write_images(tmp_path, (30, 20), identities=3)
    files = sorted(tmp_path.glob("train/*/*.jpg"))
    assert len(files) == 12
    images = [np.asarray(Image.open(file)) for file in files]
    assert all(image.shape == (30, 20, 3) and image.std() > 20 for image in images)


@pytest.mark.parametrize("name", ["persons", "vehicles", "birds"])
def test_both_loaders_give_images_of_the_same_kind(name, tmp_path):
    """The same shape; mean and spread are as similar as random erasing allows."""
    crops = CROPS[name]
    write_images(tmp_path, crops.file_size, identities=8)
    cfg = loader_config(crops, tmp_path, batch=8)
    ours, theirs = (next(loader(cfg))["images"] for loader in (data._ours, data._fastreid))
    size = (448, 448) if name == "birds" else crops.size
    assert ours.shape == theirs.shape == (8, 3, *size)
    assert ours.dtype == torch.uint8
    assert abs(ours.float().mean() - theirs.mean()) < 25
    assert abs(ours.float().std() - theirs.std()) < 25


@pytest.mark.parametrize(("name", "config"), [("persons", "market1501"), ("vehicles", "veri")])
def test_the_augmentation_is_that_of_the_config(name, config):
    repository = Path(__file__).parents[2]
    trained = load_config(str(repository / "configs" / f"Base-{config}.yml"))
    trained.INPUT.SIZE_TEST = []
    found = loader_config(CROPS[name], "images", 8)
    found.INPUT.SIZE_TEST = []
    assert found.INPUT == trained.INPUT


def test_wrong_input():
    with pytest.raises(InputError, match="unknown case 'cats'; use one of persons, vehicles, birds"):
        benchmark_data(["cats"])
    with pytest.raises(InputError, match="--batch 6 is not a multiple of 4"):
        benchmark_data(["persons"], batch=6)
