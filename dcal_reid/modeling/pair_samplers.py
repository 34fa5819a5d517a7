"""Pair samplers: how the distractor of each image is chosen from the batch (DCAL Table 4).

A pair sampler is called with the identities (B,) of a batch and returns the index of each image's distractor, (B,).
No image is its own distractor. Random numbers come from PyTorch's global CPU generator, which is seeded by ``SEED``
and stored in checkpoints.
"""

import torch
from fastreid.utils.registry import Registry
from torch import Tensor

from ..errors import InputError

__all__ = ["PAIR_SAMPLER_REGISTRY", "balanced", "inter", "intra", "random"]

PAIR_SAMPLER_REGISTRY = Registry("PAIR_SAMPLER")
PAIR_SAMPLER_REGISTRY.__doc__ = """
Pair samplers, by the name that MODEL.DCAL.PWCA.PAIR_SAMPLER takes. Called with the identities (B,) of a batch;
returns on the CPU the index (B,) of each image's distractor.
"""


@PAIR_SAMPLER_REGISTRY.register()
def random(targets: Tensor) -> Tensor:
    """Any other image, all equally likely; no image is the distractor of two others (the paper's choice).

    In a P x K batch the next image usually has the same identity, so the batch is shuffled before each image takes
    the next one.

    Raises:
        InputError: the batch has only one image.
    """
    order = torch.randperm(_at_least_two(targets))
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner


@PAIR_SAMPLER_REGISTRY.register()
def inter(targets: Tensor) -> Tensor:
    """An image of another identity.

    Raises:
        InputError: the batch has only one identity.
    """
    return _draw(~_same_identity(targets), "inter", "no other identity in the batch; raise SOLVER.IMS_PER_BATCH")


@PAIR_SAMPLER_REGISTRY.register()
def intra(targets: Tensor) -> Tensor:
    """Another image of the same identity.

    Raises:
        InputError: an identity has only one image in the batch.
    """
    allowed = _same_identity(targets).fill_diagonal_(False)
    return _draw(allowed, "intra", "no second image in the batch; use an identity sampler with NUM_INSTANCE >= 2")


@PAIR_SAMPLER_REGISTRY.register()
def balanced(targets: Tensor) -> Tensor:
    """The same identity or another one, each with probability 1/2.

    Raises:
        InputError: as for ``inter`` and ``intra``.
    """
    same = torch.rand(_at_least_two(targets)) < 0.5
    return torch.where(same, intra(targets), inter(targets))


def _at_least_two(targets: Tensor) -> int:
    if len(targets) < 2:
        raise InputError(f"pair-wise cross-attention needs at least 2 images in a batch, got {len(targets)}")
    return len(targets)


def _same_identity(targets: Tensor) -> Tensor:
    targets = targets.cpu()
    return targets[:, None] == targets[None, :]  # (B, B)


def _draw(allowed: Tensor, name: str, cure: str) -> Tensor:
    """One allowed index per row of the (B, B) mask, all equally likely."""
    if not allowed.any(dim=1).all():
        image = int((~allowed.any(dim=1)).nonzero()[0])
        raise InputError(f"MODEL.DCAL.PWCA.PAIR_SAMPLER {name}: image {image} has {cure}")
    return torch.multinomial(allowed.float(), 1)[:, 0]
