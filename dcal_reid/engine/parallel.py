"""One model in several processes, each with its part of the batch."""

import inspect

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["distributed", "share_buffers", "without_wrapper"]


def distributed(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model with gradients averaged over the processes; unchanged if there is only one process."""
    if comm.get_world_size() == 1:
        return model
    # PyTorch 2.15 has another name for this argument.
    names = inspect.signature(DistributedDataParallel).parameters
    key = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    # Without cross-entropy nothing trains the identity classifiers, and DDP would wait for their gradients.
    unused = "CrossEntropyLoss" not in cfg.MODEL.LOSSES.NAME
    # No device_ids: the model moves its batch itself, after the pair sampler has read the identities.
    return DistributedDataParallel(model, find_unused_parameters=unused, gradient_as_bucket_view=True, **{key: False})


def without_wrapper(model: nn.Module) -> nn.Module:
    """The model that ``distributed`` was given."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def share_buffers(model: nn.Module) -> None:
    """Give every process the first one's batch-norm statistics for evaluation; each has averaged its own batches."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)
