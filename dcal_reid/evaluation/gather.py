"""Gather rows from all processes on the main process, without pickle and without padding."""

from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from fastreid.utils import comm

__all__ = ["gather_rows"]


def gather_rows(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Concatenate the arrays of all processes in the order of the processes.

    All processes must call it with the same names and dtypes. Row counts may differ and may be 0; the other
    dimensions must be the same wherever there are rows.

    Returns:
        On the main process name -> rows of all processes, on the others None.
    """
    if comm.get_world_size() == 1:
        return parts
    with _cpu_group() as group:
        gathered = {name: _gather(array, group) for name, array in parts.items()}
        # No process may leave and close its connections while others are still reading.
        dist.barrier(group)
    return gathered if comm.is_main_process() else None


def _gather(array: np.ndarray, group) -> np.ndarray | None:
    if array.dtype.kind == "U":
        return _gather_text(array, group)
    shape = torch.tensor([len(array), array[:1].size])
    shapes = [torch.empty_like(shape) for _ in range(dist.get_world_size(group))]
    dist.all_gather(shapes, shape, group=group)
    rows, width = [int(shape[0]) for shape in shapes], max(int(shape[1]) for shape in shapes)
    mine = torch.from_numpy(np.ascontiguousarray(array).reshape(len(array), -1 if len(array) else width))
    if not comm.is_main_process():
        if len(mine):
            dist.send(mine, dst=0, group=group)
        return None
    gathered = torch.empty((sum(rows), width), dtype=mine.dtype)
    for process, part in enumerate(gathered.split(rows)):
        if process == 0:
            part.copy_(mine)
        elif len(part):
            dist.recv(part, src=process, group=group)
    return gathered.numpy() if array.ndim > 1 else gathered.numpy().reshape(-1)


def _gather_text(array: np.ndarray, group) -> np.ndarray | None:
    # A file name that is not UTF-8 contains surrogates.
    encoded = [text.encode("utf-8", "surrogateescape") for text in array.tolist()]
    lengths = _gather(np.array([len(text) for text in encoded], dtype=np.int64), group)
    text = _gather(np.frombuffer(b"".join(encoded), dtype=np.uint8).copy(), group)
    if lengths is None:
        return None
    text, ends = text.tobytes(), np.cumsum(lengths)
    parts = (text[end - length : end] for length, end in zip(lengths, ends, strict=True))
    return np.array([part.decode("utf-8", "surrogateescape") for part in parts], dtype=str)


@contextmanager
def _cpu_group():
    """A process group for CPU tensors: the features of a large test set do not fit on the GPU of one process."""
    if dist.get_backend() == "gloo":
        yield dist.group.WORLD
        return
    group = dist.new_group(backend="gloo")
    try:
        yield group
    finally:
        dist.destroy_process_group(group)
