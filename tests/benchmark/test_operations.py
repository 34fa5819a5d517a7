import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcal_reid.benchmark.operations import activation_memory, count_operations, matrix_product_rate, time_calls


def test_operations_of_a_linear_layer():
    """2 m n k forward; as many for the weight's gradient, and for the input's gradient if it is needed."""
    layer, x = nn.Linear(5, 7, bias=False), torch.randn(3, 5)
    assert count_operations(lambda: layer(x)) == 2 * 3 * 5 * 7
    assert count_operations(lambda: layer(x).sum().backward()) == 2 * 2 * 3 * 5 * 7
    x.requires_grad_()
    assert count_operations(lambda: layer(x).sum().backward()) == 3 * 2 * 3 * 5 * 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("queries", [17, 1])
def test_fused_attention_is_counted_on_the_cpu(dtype, queries):
    """Forward: q k^T and its product with v. Backward: the scores again, and two products for each of the two."""
    q = torch.randn(2, 3, queries, 8, dtype=dtype, requires_grad=True)
    k = torch.randn(2, 3, 17, 8, dtype=dtype, requires_grad=True)
    product = 2 * 2 * 3 * queries * 17 * 8
    with torch.no_grad():
        assert count_operations(lambda: F.scaled_dot_product_attention(q, k, k)) == 2 * product
    found = count_operations(lambda: F.scaled_dot_product_attention(q, k, k).sum().backward())
    # Explicit attention, where PyTorch uses it, keeps the scores.
    assert found in (7 * product, 6 * product)


def test_activation_memory_leaves_parameters_out_and_counts_a_storage_once():
    layer = nn.Linear(100, 100)
    x = torch.randn(10, 100)
    assert activation_memory(layer, lambda: layer(x).sum()) == 4 * 10 * 100  # the input
    # sin keeps its input, the layer's output, which nothing else keeps; exp keeps its own output.
    assert activation_memory(layer, lambda: layer(x).sin().exp().sum()) == 3 * 4 * 10 * 100
    # Two views of one storage.
    pair = torch.randn(2, 10, 100, requires_grad=True)
    assert activation_memory(layer, lambda: pair[0].sin().sum() + pair[1].cos().sum()) == 4 * 2 * 10 * 100


def test_attention_matrices_are_activations_of_explicit_attention_alone():
    q = torch.randn(1, 2, 64, 4, requires_grad=True)
    matrix = 4 * 2 * 64 * 64

    def explicit():
        return ((q @ q.transpose(-2, -1)).softmax(dim=-1) @ q).sum()

    module = nn.Identity()
    assert activation_memory(module, explicit) >= matrix
    assert activation_memory(module, lambda: F.scaled_dot_product_attention(q, q, q).sum()) < matrix


def test_time_is_that_of_one_call():
    calls = []

    def call():
        calls.append(1)
        time.sleep(0.02)

    found = time_calls({"sleep": call}, repeats=2, device="cpu")["sleep"]
    assert 0.019 < found.seconds < 0.2
    assert len(calls) > 3 and found.result is None


def test_rate_of_a_matrix_product(monkeypatch):
    monkeypatch.setattr("dcal_reid.benchmark.operations._SHORTEST_RUN", 0.01)
    assert 1e6 < matrix_product_rate("cpu", torch.float32, size=64) < 1e14
