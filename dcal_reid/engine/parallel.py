"""One model in several processes, each with its part of the batch."""

import inspect

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["distributed", "share_buffers", "without_wrapper"]


def distributed(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model with gradients averaged over the processes; as it is if there is one."""
    if comm.get_world_size() == 1:
        return model
    # PyTorch 2.15 has another name for it.
    names = inspect.signature(DistributedDataParallel).parameters
    key = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    # Without cross-entropy nothing trains the identity classifiers, for whose gradients it would wait.
    unused = "CrossEntropyLoss" not in cfg.MODEL.LOSSES.NAME
    # No device_ids: the model itself moves its batch, of which the pair sampler reads the identities before.
    return DistributedDataParallel(model, find_unused_parameters=unused, gradient_as_bucket_view=True, **{key: False})


def without_wrapper(model: nn.Module) -> nn.Module:
    """The model that ``distributed`` was given."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def share_buffers(model: nn.Module) -> None:
    """Every process evaluates with the first one's batch-norm statistics; each has averaged its own batches."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)
