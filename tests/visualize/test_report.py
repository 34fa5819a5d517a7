import numpy as np
import pytest
from fastreid.modeling.meta_arch import build_model
from PIL import Image

from dcal_reid.evaluation import FeatureSet, rank_features
from dcal_reid.visualize.report import draw_attention_of, draw_rank_lists_of, rank_list, spread_by_ap


@pytest.fixture
def evaluated(tmp_path):
    """Three queries and six gallery images of 2-d features."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(9):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(paths[-1])
    features = np.array(
        [[1, 0], [0, 1], [1, 1], [1, 0], [1, 0], [0.9, 0.1], [0, 1], [0.5, 0.5], [-1, 0]], dtype=np.float32
    )
    pids = np.array([1, 2, 3, 1, 7, 1, 2, 1, 2])
    camids = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    data = FeatureSet(features, pids, camids, np.arange(9), np.array(paths), num_query=3)
    q, g = data.query, data.gallery
    return data, rank_features(features[q], features[g], pids[q], pids[g], camids[q], camids[g])


def test_a_rank_list_is_in_order_without_junk(evaluated):
    data, result = evaluated
    found = rank_list(data, result, query=0, length=4)
    # Image 3 is as near as image 4, but shows identity 1 in the query's own camera.
    assert [str(path)[-5] for path in found.gallery] == ["4", "5", "7", "6"]
    assert list(found.matches) == [False, True, True, False]
    assert found.distances[0] == pytest.approx(0, abs=1e-6) and list(found.camids) == [1, 1, 1, 1]
    assert found.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_ties_come_in_the_order_of_the_gallery(evaluated):
    data, result = evaluated
    data.features[data.gallery] = data.features[3]
    assert [str(p)[-5] for p in rank_list(data, result, query=1, length=6).gallery] == list("345678")


def test_queries_are_spread_over_those_with_a_match(evaluated):
    _, result = evaluated
    assert spread_by_ap(result, 9) == [0, 1]
    assert spread_by_ap(result, 1) == [0]


def test_draws_both_pictures(tiny_cfg, evaluated, tmp_path):
    data, result = evaluated
    draw_rank_lists_of(tmp_path / "ranks.png", data, result, (64, 32), count=2, length=3)
    for num_blocks in (1, 0):
        tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = num_blocks
        model = build_model(tiny_cfg).eval()
        draw_attention_of(tmp_path / "attention.png", model, data.paths[:2].tolist(), (64, 32))
        for name in ("ranks.png", "attention.png"):
            with Image.open(tmp_path / name) as picture:
                assert min(picture.size) > 100 and len(picture.getcolors(2**20) or range(1000)) > 100
