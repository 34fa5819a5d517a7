import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from dcal_reid.evaluation.products import Prepared, error_bound, squared_distances

CPU = torch.device("cpu")


def prepared(features, centre, scale=1.0):
    return Prepared(features, np.full(len(features), scale), np.asarray(centre), CPU)


def exact(left, right):
    return ((left[:, None] - right) ** 2).sum(axis=2)


@pytest.mark.parametrize("dim", [1, 5, 4096])
@pytest.mark.parametrize("length", [1.0, 1e6])
@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-7])
@pytest.mark.parametrize("is_centred", [True, False])
def test_products_are_within_their_bound(dim, length, spread, is_centred):
    """Also where the bound is tight: features that nearly coincide and are not centred, and one far from all others."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(dim)
    left, right = (length * (common + spread * rng.standard_normal((n, dim))) for n in (9, 20))
    left[0], right[0] = 0, right[1]
    centre = length * common if is_centred else np.zeros(dim)
    a, b = prepared(left, centre), prepared(right, centre)
    error = np.abs(squared_distances(a.left(slice(None)), b.right) - exact(left, right))
    assert np.all(error <= error_bound(a, b)[:, None])


def test_the_centre_is_taken_away_from_scaled_features_and_changes_no_distance():
    rng = np.random.default_rng(0)
    left, right = 100 + rng.standard_normal((9, 6)), 100 + rng.standard_normal((8, 6))
    a, b = (prepared(side, [50.0] * 6, scale=0.5) for side in (left, right))
    np.testing.assert_allclose(a.lengths, np.linalg.norm(left / 2 - 50, axis=1), rtol=1e-12)
    np.testing.assert_allclose(squared_distances(a.left(slice(2, 5)), b.right), exact(left[2:5], right) / 4, rtol=1e-5)


def test_a_buffer_holds_the_products_of_blocks_up_to_its_size():
    items = prepared(np.random.default_rng(0).standard_normal((10, 4)), np.zeros(4))
    buffer = np.empty(7 * 10, dtype=np.float32)
    for rows in (slice(0, 7), slice(7, 10)):
        found = squared_distances(items.left(rows), items.right, buffer)
        assert np.shares_memory(found, buffer)
        assert np.array_equal(found, squared_distances(items.left(rows), items.right))


@pytest.fixture
def rounds():
    """Whether CUDA products are rounded to TF32, as training has chosen in this test."""
    matmul = torch.backends.cuda.matmul
    # PyTorch 2.9 renamed the switch.
    name, on = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, on)
    yield lambda: getattr(matmul, name) == on
    setattr(matmul, name, before)


class AtProducts(TorchFunctionMode):
    """Records what a function returns whenever a product of tensors is computed."""

    def __init__(self, function):
        super().__init__()
        self.function, self.said = function, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if "matmul" in getattr(func, "__name__", ""):
            self.said.append(self.function())
        return func(*args, **kwargs or {})


def test_tensors_are_multiplied_in_single_precision_whatever_training_has_chosen(rounds):
    features = np.random.default_rng(0).standard_normal((6, 300))
    items = prepared(features, np.zeros(300))
    left, right = torch.tensor(items.left(slice(None)), requires_grad=True), torch.tensor(items.right)
    with torch.autocast("cpu", torch.bfloat16), AtProducts(rounds) as products:
        found = squared_distances(left, right)
    assert found.dtype == torch.float32 and not found.requires_grad
    np.testing.assert_allclose(found, exact(features, features), rtol=1e-5, atol=1e-3)
    assert products.said == [False] and rounds()


def test_a_product_that_fails_leaves_the_precision_of_training(rounds):
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        squared_distances(torch.ones(2, 3), torch.ones(4, 5))
    assert rounds()
