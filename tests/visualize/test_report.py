from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.evaluation import ClassificationResult, DCALReidEvaluator
from dcal_reid.visualize import report
from dcal_reid.visualize.rank_list import draw_rank_lists
from dcal_reid.visualize.ranks import chosen_queries
from dcal_reid.visualize.report import draw_attention_of, draw_predictions_of, mistakes_first, rank_lists_of


@pytest.fixture
def evaluator(tiny_cfg, tmp_path):
    """Three queries, the last without a match, and six gallery images."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(9):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(paths[-1])
    features = torch.tensor([[1, 0], [0, 1], [1, 1], [1, 0], [1, 0], [0.9, 0.1], [0, 1], [0.5, 0.5], [-1, 0]])
    evaluator = DCALReidEvaluator(tiny_cfg, num_query=3)
    batch = {
        "targets": torch.tensor([1, 2, 3, 1, 7, 1, 2, 1, 2]),
        "camids": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1]),
        "indices": torch.arange(9),
        "img_paths": paths,
    }
    evaluator.process(batch, features)
    evaluator.evaluate()
    return evaluator


def test_queries_are_spread_over_those_with_a_match(evaluator):
    assert chosen_queries(evaluator, order="spread", count=9) == [0, 1]
    assert chosen_queries(evaluator, order="spread", count=1) == [0]


def test_a_rank_list_shows_what_was_found(evaluator):
    (found,) = rank_lists_of(evaluator, [0], 4)
    # Image 3 is as near as image 4, but shows identity 1 in the query's own camera.
    assert [path[-5] for path in found.gallery] == ["4", "5", "7", "6"]
    assert found.matches == [False, True, True, False] and found.camids == [1, 1, 1, 1]
    assert (found.query[-5], found.pid, found.camid) == ("0", 1, 0)
    assert found.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("num_blocks", [1, 0])
def test_draws_both_pictures(tiny_cfg, evaluator, tmp_path, num_blocks):
    draw_rank_lists(tmp_path / "ranks.png", rank_lists_of(evaluator, [0, 1], 3), size=(64, 32))
    tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = num_blocks
    predictor = Predictor.of(tiny_cfg, build_model(tiny_cfg).eval())
    paths = evaluator.features().paths[:2].tolist()
    draw_attention_of(tmp_path / "attention.png", predictor, paths)
    for name in ("ranks.png", "attention.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100 and len(picture.getcolors(2**20) or range(1000)) > 100


@pytest.fixture
def classified():
    """Six images of two classes, surest first; images 1, 3 and 4 are mistakes."""
    labels = np.array([0, 0, 1, 1, 0, 1])
    predicted = np.array([0, 1, 1, 0, 1, 1])[:, None]
    return ClassificationResult(
        labels=labels,
        predicted=predicted,
        rank=np.where(predicted == labels[:, None], 1, 2),
        top=np.hstack([predicted, 1 - predicted]),
        probabilities=np.array([[p, 1 - p] for p in (0.99, 0.9, 0.8, 0.7, 0.6, 0.5)], dtype=np.float32),
        paths=np.array([f"{number}.png" for number in range(6)]),
        class_names=("ant", "bee"),
    )


def test_half_of_the_predictions_shown_are_mistakes(classified):
    assert mistakes_first(classified, 4) == [1, 4, 0, 5]
    assert mistakes_first(classified, 5) == [1, 4, 0, 2, 5]
    assert sorted(mistakes_first(classified, 99)) == list(range(6))


def test_a_prediction_shows_an_example_of_each_class(classified, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "draw_predictions", lambda path, predictions, size: drawn.extend(predictions))
    dataset = SimpleNamespace(train=[("b1.png", 1, 0), ("a1.png", 0, 0), ("a2.png", 0, 0)])
    draw_predictions_of(tmp_path / "p.png", classified, dataset, (32, 32), count=2)
    wrong, right = drawn
    assert (wrong.image, wrong.label, wrong.classes) == ("1.png", "ant", ["bee", "ant"])
    assert wrong.examples == ["b1.png", "a1.png"]
    assert wrong.probabilities == pytest.approx([0.9, 0.1])
    assert (right.image, right.label, right.classes) == ("0.png", "ant", ["ant", "bee"])


def test_an_example_is_an_image_that_can_be_decoded(classified, tmp_path, monkeypatch):
    drawn, paths = [], [str(tmp_path / f"{number}.png") for number in range(3)]
    Image.new("RGB", (4, 4)).save(paths[1])
    Path(paths[0]).write_bytes(b"no image")
    monkeypatch.setattr(report, "draw_predictions", lambda path, predictions, size: drawn.extend(predictions))
    dataset = SimpleNamespace(train=[(paths[0], 0, 0), (paths[1], 0, 0), (paths[2], 1, 0)])
    draw_predictions_of(tmp_path / "p.png", classified, dataset, (32, 32), count=2)
    assert drawn[0].examples == [paths[2], paths[1]]
