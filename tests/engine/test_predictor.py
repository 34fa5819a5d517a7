import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.data import build_test_loader
from dcal_reid.engine.inference import evaluate_dataset
from dcal_reid.engine.job import evaluate
from dcal_reid.engine.setup import save_config
from dcal_reid.errors import InputError


@pytest.fixture
def predictor(run_folder):
    return Predictor(run_folder / "model_final.pth")


@pytest.fixture
def paths(crops):
    return sorted(map(str, crops.glob("*.png")))


def test_features_are_those_of_an_evaluation(predictor):
    _, evaluator = evaluate_dataset(predictor.cfg, predictor.model, "CSVReID")
    expected = evaluator.features()
    found = predictor(expected.paths.tolist())
    assert found.shape == (len(expected), predictor.dim) == (len(expected), 96)
    torch.testing.assert_close(found, torch.from_numpy(expected.features))


class OwnPath(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def test_an_image_may_come_as_anything(predictor, paths):
    expected = predictor(paths[0])
    assert expected.shape == (1, 96)
    with Image.open(paths[0]) as image:
        array = np.asarray(image)
        forms = [image, array, torch.from_numpy(array.copy()).permute(2, 0, 1)]
        together = predictor([paths[0], *forms])
    for form in forms:
        torch.testing.assert_close(predictor(form), expected)
    torch.testing.assert_close(together, expected.expand(4, -1))
    assert predictor([]).shape == (0, 96)
    for path in (Path(paths[0]), OwnPath(paths[0])):
        torch.testing.assert_close(predictor(path), expected)


def test_grey_arrays_and_any_size(predictor):
    grey = np.full((30, 50), 120, dtype=np.uint8)
    torch.testing.assert_close(predictor(grey), predictor(np.full((64, 32, 3), 120, dtype=np.uint8)))


def test_batches_do_not_change_features(run_folder, predictor, paths):
    one_by_one = Predictor(run_folder / "model_final.pth", overrides=("TEST.IMS_PER_BATCH", "1"))
    torch.testing.assert_close(one_by_one(paths), predictor(paths), rtol=1e-4, atol=1e-5)


def test_extract_gives_every_file_once_in_order(predictor, paths):
    parts = list(predictor.extract(paths))
    assert len(parts) == -(-len(paths) // predictor.cfg.TEST.IMS_PER_BATCH)
    assert np.concatenate([part.indices for part in parts]).tolist() == list(range(len(paths)))
    torch.testing.assert_close(torch.from_numpy(np.concatenate([part.features for part in parts])), predictor(paths))


def test_broken_files_are_reported_where_that_is_asked_for(run_folder, predictor, paths, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    files = [paths[0], str(broken), paths[1]]
    with pytest.raises(InputError, match=r"broken\.jpg"):
        list(predictor.extract(files))
    skipping = Predictor(run_folder / "model_final.pth", overrides=("DATALOADER.BROKEN_IMAGES", "skip"))
    (part,) = skipping.extract(files)
    assert part.indices.tolist() == [0, 2] and part.broken == [str(broken)]
    torch.testing.assert_close(torch.from_numpy(part.features), predictor(paths[:2]))


def test_a_flipped_image_has_the_same_features_with_flip(run_folder, paths):
    predictor = Predictor(run_folder / "model_final.pth", overrides=("TEST.FLIP.ENABLED", "True"))
    image = next(iter(build_test_loader(predictor.cfg, "CSVReID")[0]))["images"][0]
    torch.testing.assert_close(predictor(image), predictor(image.flip(dims=[2])))


def test_what_is_no_image(predictor):
    for image, kind in [
        (np.zeros((4, 4, 3)), r"ndarray float64 \(4, 4, 3\)"),
        (torch.zeros((4, 4, 3), dtype=torch.uint8), r"Tensor torch.uint8 \(4, 4, 3\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"ndarray uint8 \(0, 4, 3\)"),
    ]:
        with pytest.raises(InputError, match=kind):
            predictor(image)
    with pytest.raises(InputError, match="not a int"):
        predictor([3])
    for images, kind in [({"a.jpg"}, "set"), ((path for path in ["a.jpg"]), "generator"), (None, "NoneType")]:
        with pytest.raises(InputError, match=f"images are a {kind}; give one, or a list of them"):
            predictor(images)


def test_nan_features_are_refused(predictor):
    with torch.no_grad():
        predictor.model.backbone.vit.norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="a feature is NaN or infinite"):
        predictor(np.zeros((64, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("classes", [False, True])
def test_a_checkpoint_is_read_once(request, classes, monkeypatch):
    """A checkpoint also holds the optimiser's state."""
    folder, read, load = request.getfixturevalue("class_run_folder" if classes else "run_folder"), [], torch.load
    monkeypatch.setattr(torch, "load", lambda path, **options: read.append(path) or load(path, **options))
    predictor = Predictor(folder / "model_final.pth")
    assert len(read) == 1 and (predictor.class_names is not None) == classes
    evaluate(predictor.cfg)
    assert len(read) == 2


@pytest.mark.usefixtures("fastreid_cfg")
def test_fastreids_own_network_says_nothing_of_its_attention(run_cfg):
    Path(run_cfg.OUTPUT_DIR).mkdir()
    save_config(run_cfg)
    predictor = Predictor(config_file=f"{run_cfg.OUTPUT_DIR}/config.yaml")
    with pytest.raises(InputError, match="FastReIDBaseline does not give its attention"):
        predictor.attention([np.zeros((64, 32, 3), dtype=np.uint8)])


def test_attention(predictor, paths):
    maps = predictor.attention(paths[:2])
    assert maps.sa.shape == maps.glca.shape == (2, *predictor.model.backbone.grid_size)


def test_attention_in_batches_is_that_of_each_image(predictor, paths):
    some = paths[: 2 * predictor.cfg.TEST.IMS_PER_BATCH + 1]
    alone = [predictor.attention([path]) for path in some]
    for found, *one_by_one in zip(predictor.attention(some), *alone, strict=True):
        torch.testing.assert_close(found, torch.cat(one_by_one), rtol=1e-4, atol=1e-6)
    predictor.model.glca = None
    maps = predictor.attention(some)
    assert len(maps.sa) == len(some) and maps.glca is None and maps.selected is None


def test_batches_are_what_is_preprocessed_but_never_more_at_a_time(predictor, paths):
    batches = list(predictor.batches(paths[:12]))
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert torch.equal(torch.cat(batches), predictor.preprocess(paths[:12]))
    assert list(predictor.batches([])) == []


def test_a_banner_is_not_looked_at(predictor, paths):
    with Image.open(paths[0]) as image:
        plain = np.asarray(image)
    banner = np.concatenate([plain, np.full((7, 32, 3), 255, dtype=np.uint8)])
    cutting = predictor.without_banner(7)
    torch.testing.assert_close(cutting(banner), predictor(plain))
    assert torch.equal(cutting.preprocess([banner]), predictor.preprocess([plain]))
    assert not torch.equal(predictor.preprocess([banner]), predictor.preprocess([plain]))
