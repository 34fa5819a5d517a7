import logging

import numpy as np
import pytest
import torch
from fastreid.evaluation import inference_on_dataset

import dcal_reid
from dcal_reid.errors import InputError
from dcal_reid.evaluation import DCALReidEvaluator, FeatureSet, rank_features, score


class TestSet(torch.utils.data.Dataset):
    """Generated images of 12 identities from 3 cameras, 25 queries first."""

    __test__ = False
    num_query = 25

    def __init__(self, count=140):
        generator = torch.Generator().manual_seed(0)
        self.pids = torch.randint(0, 12, (count,), generator=generator)
        self.camids = torch.randint(0, 3, (count,), generator=generator)
        self.images = torch.randn(12, 1, 4, 6, generator=generator)[self.pids]
        self.images = self.images + 1.5 * torch.randn(count, 1, 4, 6, generator=generator)

    def __len__(self):
        return len(self.pids)

    def __getitem__(self, i):
        return {
            "images": self.images[i], "targets": int(self.pids[i]), "camids": int(self.camids[i]),
            "img_paths": f"images/{i:04d}.jpg", "indices": i,
        }  # fmt: skip


class Flatten(torch.nn.Module):
    def forward(self, inputs):
        return inputs["images"].flatten(1)


@pytest.fixture
def cfg():
    cfg = dcal_reid.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def run(cfg, order=None, output_dir=None, flip_test=False, batch_size=16):
    data = TestSet()
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size, sampler=order)
    evaluator = DCALReidEvaluator(cfg, data.num_query, output_dir)
    return evaluator, inference_on_dataset(Flatten(), loader, evaluator, flip_test=flip_test)


def expected(features, **options):
    data, q, g = TestSet(), slice(None, 25), slice(25, None)
    labels = data.pids[q], data.pids[g], data.camids[q], data.camids[g]
    return rank_features(features[q], features[g], *labels, **options)


def test_metrics_of_fastreids_inference(cfg):
    evaluator, metrics = run(cfg)
    result = expected(TestSet().images.flatten(1))
    assert metrics == result.metrics()
    assert list(metrics) == ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"]
    assert metrics["metric"] == pytest.approx((metrics["mAP"] + metrics["Rank-1"]) / 2)
    assert 20 < metrics["mAP"] < 99
    assert np.array_equal(evaluator.result.ap, result.ap, equal_nan=True)


def test_order_and_batch_size_do_not_matter(cfg):
    _, metrics = run(cfg)
    assert run(cfg, order=torch.randperm(140).tolist(), batch_size=9)[1] == metrics


def test_items_that_come_twice_are_counted_once(cfg, caplog):
    _, metrics = run(cfg)
    with caplog.at_level(logging.INFO, "dcal_reid"):
        _, again = run(cfg, order=[*range(140), 3, 99, 3])
    assert again == metrics
    assert "3 items came more than once" in caplog.text


def test_missing_images_shift_nothing(cfg):
    """A loader that skips broken images: queries are known by index, not by position."""
    missing = {0, 7, 24, 25, 60}
    evaluator, _ = run(cfg, order=[i for i in range(140) if i not in missing])
    data = evaluator.features()
    assert (data.query, data.gallery) == (slice(0, 22), slice(22, 135))
    assert data.paths[0] == "images/0001.jpg"
    assert np.array_equal(data.pids, TestSet().pids.numpy()[data.indices])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("ap", ["step", "trapezoid"])
def test_flip_metric_and_ap(cfg, metric, ap):
    cfg.TEST.METRIC, cfg.TEST.AP = metric, ap
    _, metrics = run(cfg, flip_test=True)
    images = TestSet().images
    features = (images.flatten(1) + images.flip(3).flatten(1)) / 2
    assert metrics == expected(features, metric=metric, ap=ap).metrics()


def test_roc(cfg):
    cfg.TEST.ROC.ENABLED = True
    _, metrics = run(cfg)
    assert list(metrics)[-3:] == ["TPR@FPR=1e-04", "TPR@FPR=1e-03", "TPR@FPR=1e-02"]


def test_counts_are_logged(cfg, caplog):
    with caplog.at_level(logging.INFO, "dcal_reid"):
        run(cfg)
    assert "25 queries, 0 of them without a valid match; 115 gallery items; 3 cameras" in caplog.text


def test_features_are_kept_for_scoring_again(cfg, tmp_path):
    evaluator, _ = run(cfg, output_dir=tmp_path / "new" / "folder")
    data = FeatureSet.load(tmp_path / "new" / "folder" / "features.npz")
    np.testing.assert_array_equal(data.features, evaluator.features().features)
    assert data.paths.tolist() == evaluator.features().paths.tolist()
    assert data.num_query == 25


def test_half_precision_outputs(cfg):
    evaluator = DCALReidEvaluator(cfg, 1)
    evaluator.process(
        {"targets": [0, 0], "camids": [0, 1], "indices": [0, 1], "img_paths": ["a", "b"]},
        torch.ones(2, 8, dtype=torch.bfloat16),
    )
    assert evaluator.evaluate()["Rank-1"] == 100


def test_nan_features_name_their_images(cfg):
    """fast-reid reports mAP 3.6 for features that are all NaN (audit, evaluation 28)."""
    evaluator = DCALReidEvaluator(cfg, 1)
    inputs = {"targets": [0, 0, 1], "camids": [0, 1, 1], "indices": [0, 1, 2], "img_paths": ["a.jpg", "b.jpg", "c.jpg"]}
    evaluator.process(inputs, torch.tensor([[1.0, 0], [torch.nan, 0], [torch.inf, 1]]))
    with pytest.raises(InputError, match=r"2 of 3 features are NaN or infinite, first those of b.jpg, c.jpg"):
        evaluator.evaluate()


def test_two_images_with_one_index(cfg):
    evaluator = DCALReidEvaluator(cfg, 1)
    inputs = {"targets": [0, 0], "camids": [0, 1], "indices": [0, 0], "img_paths": ["a.jpg", "b.jpg"]}
    evaluator.process(inputs, torch.ones(2, 4))
    with pytest.raises(InputError, match=r"a\.jpg and b\.jpg both have index 0"):
        evaluator.evaluate()


def test_no_features(cfg):
    with pytest.raises(InputError, match="0 queries, 0 gallery items"):
        DCALReidEvaluator(cfg, 1).evaluate()


def test_batches_without_indices(cfg):
    with pytest.raises(InputError, match="no 'indices'"):
        DCALReidEvaluator(cfg, 1).process({"targets": [0], "camids": [0], "img_paths": ["a"]}, torch.ones(1, 4))


def test_outputs_that_are_not_features(cfg):
    inputs = {"targets": [0], "camids": [0], "indices": [0], "img_paths": ["a"]}
    with pytest.raises(InputError, match="features of shape"):
        DCALReidEvaluator(cfg, 1).process(inputs, torch.ones(2, 4))


@pytest.mark.parametrize(("key", "value", "message"), [
    ("METRIC", "jaccard", "TEST.METRIC jaccard is not a metric of features"),
    ("METRIC", "hamming", "TEST.METRIC is 'hamming'"),
    ("AP", "area", "TEST.AP is 'area'"),
])  # fmt: skip
def test_options_that_do_not_exist_are_refused_before_inference(cfg, key, value, message):
    """fast-reid accepts METRIC jaccard and fails with KeyError 'k1' after inference (audit, 1)."""
    cfg.TEST[key] = value
    with pytest.raises(InputError, match=message):
        DCALReidEvaluator(cfg, 1)


def test_reset_forgets(cfg):
    evaluator, metrics = run(cfg)
    evaluator.reset()
    with pytest.raises(RuntimeError, match="only after evaluate"):
        _ = evaluator.result
    loader = torch.utils.data.DataLoader(TestSet(), batch_size=16)
    assert inference_on_dataset(Flatten(), loader, evaluator) == metrics


def test_every_option_at_once(cfg):
    cfg.TEST.AQE.ENABLED = cfg.TEST.RERANK.ENABLED = cfg.TEST.ROC.ENABLED = True
    cfg.TEST.METRIC, cfg.TEST.AP = "euclidean", "trapezoid"
    evaluator, metrics = run(cfg, flip_test=True)
    assert metrics == score(evaluator.features(), cfg.TEST).metrics()
    assert metrics["mAP"] != run(dcal_reid.get_cfg())[1]["mAP"]


@pytest.mark.parametrize("rerank", [False, True])
def test_rank_lists_are_those_that_were_scored(cfg, rerank):
    cfg.TEST.RERANK.ENABLED = rerank
    evaluator, _ = run(cfg)
    data = evaluator.features()
    for found in evaluator.rank_lists([0, 7], k=115):
        assert np.flatnonzero(found.matches)[0] + 1 == evaluator.result.first_rank[found.query]
        assert np.array_equal(data.pids[data.gallery][found.gallery] == data.pids[found.query], found.matches)


def test_broken_images_are_counted(cfg, caplog):
    """Batches do not contain them, but name them."""
    data = TestSet()
    evaluator = DCALReidEvaluator(cfg, data.num_query)
    for left_out in (["b.jpg", "a.jpg"], [], ["b.jpg"]):
        batch = torch.utils.data.default_collate([data[i] for i in range(140)])
        evaluator.process(batch | {"broken_paths": left_out}, batch["images"].flatten(1))
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        evaluator.evaluate()
    assert caplog.messages == ["2 test images cannot be decoded and are left out: a.jpg, b.jpg"]
    evaluator.reset()
    evaluator.process(batch, batch["images"].flatten(1))
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        evaluator.evaluate()
    assert len(caplog.messages) == 1
