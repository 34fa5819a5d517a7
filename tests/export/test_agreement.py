import numpy as np
import pytest
import torch

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.export.agreement import agreement, expected_features, require_agreement

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((9, 6)).astype(np.float32)


def test_the_image_that_differs_most_counts():
    found = FEATURES + RNG.normal(0, 0.1, FEATURES.shape).astype(np.float32)
    result = agreement(FEATURES, found)
    cosines = torch.cosine_similarity(torch.from_numpy(FEATURES).double(), torch.from_numpy(found).double())
    assert result.images == 9 and result.min_cosine == pytest.approx(cosines.min().item(), abs=1e-12)
    assert result.max_difference == max(
        abs(float(a) - float(b)) for a, b in zip(FEATURES.flat, found.flat, strict=True)
    )


@pytest.mark.parametrize(("count", "batches"), [(1, [1]), (2, [1, 1]), (3, [1, 2]), (4, [1, 2, 1]), (9, [1, 2, 6])])
def test_several_sizes_of_a_batch_are_compared(count, batches):
    """A graph may have kept the size that it was traced with."""
    sizes = []

    def function(images):
        sizes.append(len(images))
        return FEATURES[images]

    result = require_agreement("model", FEATURES[:count], function, list(range(count)))
    assert sizes == batches and result.images == count and result.max_difference == 0


def flipped(features):
    features[7] *= -1


def turned(features):
    features[7] = features[7][::-1]


def longer(features):
    features[7] *= 2  # the same direction, as if a mean over two views were a sum


def scaled(features):
    features *= 1.1


def not_a_number(features):
    features[7, 3] = np.nan


@pytest.mark.parametrize("change", [flipped, turned, longer, scaled, not_a_number])
def test_a_feature_that_differs_is_refused(change):
    other = FEATURES.copy()
    change(other)
    with pytest.raises(
        InputError, match=r"^model\.onnx does not give the features of PyTorch, so it is not written \(9"
    ):
        require_agreement("model.onnx", FEATURES, lambda images: other[images], list(range(9)))


def test_rounding_is_no_difference():
    rounded = FEATURES.astype(np.float16).astype(np.float32)
    assert require_agreement("model", FEATURES, lambda images: rounded[images], list(range(9))).max_difference > 0


def test_expected_is_fp32_in_any_number_of_batches(run_folder, crops, half_precision):
    images = sorted(map(str, crops.glob("*.png")))[:7]
    overrides = ["TEST.FLIP.ENABLED", "True", "TEST.IMS_PER_BATCH"]
    weights, amp = run_folder / "model_final.pth", ["SOLVER.AMP.ENABLED", "True"]
    one = Predictor(weights, overrides=[*overrides, "7"], device="cpu")
    several = Predictor(weights, overrides=[*overrides, "3", *amp], device="cpu")
    expected = one(images).numpy()
    assert np.abs(several(images).numpy() - expected).max() > 1e-3
    np.testing.assert_allclose(expected_features(several, images), expected, atol=1e-5)
