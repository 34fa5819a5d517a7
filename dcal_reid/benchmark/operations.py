"""What a call costs: its operations, its time on a device, and the memory that its backward pass needs."""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from .measure import Measurement, measure

__all__ = ["activation_memory", "count_operations", "matrix_product_rate", "peak_cuda_memory", "time_calls"]

# If one call takes less than this many seconds, a run is made of several calls.
_SHORTEST_RUN = 0.3

# Fused attention on the CPU, which PyTorch itself counts from 2.15 on.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


def count_operations(call: Callable[[], object]) -> int:
    """Multiplications and additions in the matrix products, convolutions and attention of a call, backward included.

    PyTorch's counts. Fused attention counts as two products forward and five backward (it recomputes the scores).
    """
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
        call()
    return counter.get_total_flops()


def activation_memory(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, without the parameters; each storage counts once.

    Autocast's copies of the weights are included. Memory that the forward pass frees again is not: see
    ``peak_cuda_memory``.
    """
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward()  # keeps the tensors alive, so that no two have the same address
    del output
    return sum(storages.values())


def peak_cuda_memory(call: Callable[[], object]) -> int:
    """The peak of bytes allocated during a call, less what was allocated before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def time_calls(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, Measurement]:
    """Like ``measure``, with the seconds of one call. Each run makes enough calls to take a fraction of a second.

    Args:
        calls: by name. Each must have been called before, because the first call is often slower.
        repeats: runs of each.
        device: cpu | cuda; each run waits for it.
    """
    runs = {name: _run_of(call, device) for name, call in calls.items()}
    found = measure({name: run for name, (run, _) in runs.items()}, repeats)
    return {name: Measurement(way.seconds / runs[name][1], way.memory, None) for name, way in found.items()}


def matrix_product_rate(device: str, dtype: torch.dtype, size: int | None = None) -> float:
    """Operations per second that the device reaches in one large square matrix product.

    Args:
        device: cpu | cuda.
        dtype: of the matrices.
        size: rows and columns; by default 2048 on the CPU and 8192 on a GPU.
    """
    size = size or (2048 if device == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.mm(a, b)  # the first one also waits for the libraries to load
    found = time_calls({"product": lambda: torch.mm(a, b, out=product)}, 5, device)
    return 2 * size**3 / found["product"].seconds


def _run_of(call: Callable[[], object], device: str) -> tuple[Callable[[], None], int]:
    """A function that makes enough calls and waits for the device, and the number of these calls."""

    def repeat(times: int) -> None:
        for _ in range(times):
            call()
        if device != "cpu":
            torch.cuda.synchronize()

    start = time.perf_counter()
    repeat(1)
    times = max(1, math.ceil(_SHORTEST_RUN / (time.perf_counter() - start)))
    return lambda: repeat(times), times
