import numpy as np
import pytest
import torch
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.evaluation import DCALReidEvaluator, FeatureSet
from dcal_reid.visualize.attention import enlarge, overlay
from dcal_reid.visualize.chosen import chosen_queries
from dcal_reid.visualize.rank_list import draw_rank_lists
from dcal_reid.visualize.ranks import rank_rows, show_ranks, with_attention


@pytest.fixture
def predictor(run_folder):
    return Predictor(run_folder / "model_final.pth")


@pytest.fixture
def three_queries(tiny_cfg, tmp_path):
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


def test_a_rank_list_shows_what_was_found(three_queries):
    (found,) = rank_rows(three_queries, [0], 4)
    # Image 3 is as near as image 4, but shows identity 1 in the query's own camera.
    assert [path[-5] for path in found.gallery] == ["4", "5", "7", "6"]
    assert found.matches == [False, True, True, False] and found.camids == [1, 1, 1, 1]
    assert (found.query[-5], found.pid, found.camid) == ("0", 1, 0)
    assert found.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_what_was_found_is_drawn(three_queries, tmp_path):
    draw_rank_lists(tmp_path / "ranks.png", rank_rows(three_queries, [0, 1], 3), size=(64, 32))
    with Image.open(tmp_path / "ranks.png") as picture:
        assert min(picture.size) > 100 and len(picture.getcolors(2**20) or range(1000)) > 100


def test_features_need_no_model(evaluator, tiny_cfg, tmp_path, drawn, assert_legible):
    evaluator.features().save(tmp_path / "features.npz")
    show_ranks(
        tmp_path / "ranks.png",
        tiny_cfg,
        features=str(tmp_path / "features.npz"),
        count=3,
        top=4,
        curves=str(tmp_path / "new" / "curves.png"),
    )
    ranks, curves = drawn
    panels = [axes for axes in ranks.axes if axes.images]
    assert len(panels) == 3 * 5
    assert panels[0].images[0].get_array().shape[:2] == (250, 150)  # the images' own shape, 50 x 30
    assert_legible(ranks)
    assert [axes.get_title().split(",")[0] for axes in curves.axes] == ["CMC", "AP", "ROC", "distances"]


def test_images_that_have_to_be_turned_keep_their_shape(tiny_cfg, tmp_path, drawn):
    turned = Image.Exif()
    turned[0x0112] = 6
    paths = [str(tmp_path / f"{number}.jpg") for number in range(2)]
    for path in paths:
        Image.new("RGB", (50, 30)).save(path, exif=turned)
    labels = np.array([1, 1]), np.array([0, 1]), np.arange(2), np.array(paths)
    FeatureSet(np.ones((2, 2), dtype=np.float32), *labels, num_query=1).save(tmp_path / "features.npz")
    show_ranks(tmp_path / "ranks.png", tiny_cfg, features=str(tmp_path / "features.npz"))
    panels = [axes.images[0].get_array() for axes in drawn[0].axes if axes.images]
    assert [panel.shape[:2] for panel in panels] == [(250, 150)] * 2


def test_a_dataset_is_evaluated(predictor, tmp_path, drawn):
    evaluator = show_ranks(tmp_path / "ranks.png", predictor.cfg, predictor, count=2, top=3)
    assert evaluator.result.num_query == 4
    titles = [text.get_text() for axes in drawn[0].axes for text in axes.texts]
    ap = 100 * np.sort(evaluator.result.ap)
    assert f"AP {ap[0]:.1f} %" in titles[0] and f"AP {ap[1]:.1f} %" in titles[1]


def test_attention_lies_over_what_the_model_sees(predictor, tmp_path, drawn):
    evaluator = show_ranks(tmp_path / "ranks.png", predictor.cfg, predictor, count=1, top=3, attention=True)
    assert "SA rollout, each image divided by its own maximum" in drawn[0].axes[0].texts[0].get_text()
    (plain,) = rank_rows(evaluator, chosen_queries(evaluator, count=1), 3)
    laid = with_attention(plain, predictor)
    assert laid.query.shape == (512, 256, 3) and len(laid.gallery) == 3
    assert (laid.pid, laid.distances) == (plain.pid, plain.distances)
    # The query first, and each image on its own.
    for path, pixels in zip([plain.query, *plain.gallery], [laid.query, *laid.gallery], strict=True):
        seen = predictor.preprocess([path])[0].permute(1, 2, 0).numpy()
        expected = overlay(enlarge(seen), predictor.attention([path]).sa[0].numpy())
        np.testing.assert_allclose(pixels.astype(int), expected.astype(int), atol=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "--top is 0 and --count 6"),
        ({"count": 0}, "--count 0"),
        ({"attention": True, "features": "features.npz"}, "there is no model; give --weights"),
        ({}, "there is no model"),
        ({"features": "features.npz", "dataset": "CSVReID"}, "give it or --dataset, not both"),
        ({"features": "none.npz"}, r"cannot read features from none\.npz"),
        ({"features": "none.npz", "curves": "curves"}, "'curves' is not the name of a picture"),
    ],
)
def test_wrong_input(tiny_cfg, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        show_ranks(tmp_path / "ranks.png", tiny_cfg, **options)


def test_what_cannot_be_drawn_is_told_before_the_evaluation(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("dcal_reid.visualize.ranks.evaluated_retrieval", None)
    (tmp_path / "folder.png").mkdir()
    for paths in (
        {"output": tmp_path / "folder.png"},
        {"output": tmp_path / "a.png", "curves": tmp_path / "folder.png"},
    ):
        with pytest.raises(IsADirectoryError):
            show_ranks(cfg=predictor.cfg, predictor=predictor, **paths)
    predictor.model.backbone.grid_size = None
    with pytest.raises(InputError, match="has no CLS token whose attention could be drawn"):
        show_ranks(tmp_path / "ranks.png", predictor.cfg, predictor, attention=True)
    predictor.model = torch.nn.Identity()
    with pytest.raises(InputError, match="Identity does not give its attention"):
        show_ranks(tmp_path / "ranks.png", predictor.cfg, predictor, attention=True)


def test_images_that_are_gone(tiny_cfg, tmp_path):
    labels = np.array([1, 1]), np.array([0, 1]), np.arange(2), np.array(["gone1.png", "gone2.png"])
    FeatureSet(np.eye(2, dtype=np.float32), *labels, num_query=1).save(tmp_path / "features.npz")
    with pytest.raises(InputError, match=r"image 'gone1\.png' cannot be read"):
        show_ranks(tmp_path / "ranks.png", tiny_cfg, features=str(tmp_path / "features.npz"))
