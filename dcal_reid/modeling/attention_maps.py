"""Where the branches look, for pictures: rollout of SA, GLCA and PWCA (DCAL figs. 3 and 4).

All of it works with fused attention, which does not return its weights: the softmax is recomputed from queries and
keys.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .attention import project
from .backbones import Backbone
from .backbones.vit import ViTBackbone
from .pair_attention import of_distractors, stream_places
from .rollout import attention_weights, top_patches

if TYPE_CHECKING:
    from .dcal import DCAL

__all__ = ["AttentionMaps", "PairAttentionMaps", "attention_maps", "pair_attention_maps"]


class AttentionMaps(NamedTuple):
    """Where the branches look, for pictures. gh x gw is the grid of patches."""

    sa: Tensor  # (B, gh, gw), rollout of the CLS token over the self-attention blocks
    glca: Tensor | None  # (B, gh, gw), rollout of GLCA's read-out: its first block, then the blocks before it
    selected: Tensor | None  # (B, n), the patches that are GLCA's local queries


class PairAttentionMaps(NamedTuple):
    """Where an image's CLS token looks in the pair-wise stream: at the patches of the image and of its distractor."""

    last: Tensor  # (B, 2, gh, gw), its attention in the last block
    rollout: Tensor  # (B, 2, gh, gw), rollout over all blocks


@torch.no_grad()
def attention_maps(model: "DCAL", images: dict | Tensor) -> AttentionMaps:
    """Rollout of SA and of GLCA, and GLCA's selection (DCAL figs. 3a and 4a).

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W) as for ``DCAL.forward``, or a batch.

    Raises:
        InputError: a backbone without a CLS token.
    """
    backbone = _with_cls_token(model.backbone)
    x = backbone.embed(model.preprocess_image(images))
    inputs, states = [], []
    for number in range(len(backbone.blocks)):
        inputs.append(x)
        x, state = backbone.self_block(number, x)
        states.append(state)
    sa = _on_grid(backbone, backbone.cls_rollout(states))
    if model.glca is None:
        return AttentionMaps(sa, None, None)

    depth, stacked = model.rollout_depth, model.glca_input == "stacked"
    first, last = model.selection_blocks
    response = model.response(x, states[first:last])
    context, before = (x, depth) if stacked else (inputs[depth - 1], depth - 1)
    glca = backbone.roll_back(model.glca.rollout_row(context, response), states[:before])
    selected = top_patches(response, model.glca.ratio, backbone.num_prefix)
    return AttentionMaps(sa, _on_grid(backbone, glca), selected)


@torch.no_grad()
def pair_attention_maps(model: "DCAL", images: dict | Tensor) -> PairAttentionMaps:
    """Attention of PWCA over an image and its distractor, averaged over heads (DCAL figs. 3b and 4b).

    ``last`` is the CLS token's row of eq. 4's softmax over 2 (N + 1) keys in the last block. ``rollout`` is its row of
    eq. 2 with the tokens of both images: in a pair-wise block a token's row is 0.5 of itself and 0.5 of that softmax.
    Weight on the distractor is propagated through the stream that the distractor's keys and values come from: by
    default its self-attention stream, which never attends to the image, so that the distractor's share grows with
    every block; with MODEL.DCAL.PWCA.DISTRACTOR_STREAM pwca its own pair-wise stream. Blocks before the first pair-wise
    block are self-attention blocks. Both maps sum to 1 if the weights on both images' CLS tokens are included.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W) as for ``DCAL.forward``, or a batch; B is even. Images 0 and 1 are each other's
            distractors, as are 2 and 3, and so on.

    Raises:
        InputError: a backbone other than a ViT, a model without pair-wise blocks, no images, or an odd number of them.
    """
    backbone = _with_cls_token(model.backbone)
    x = model.preprocess_image(images)
    batch, first = len(x), len(backbone.blocks) - model.pwca_blocks
    if not isinstance(backbone, ViTBackbone):
        raise InputError(f"pair-wise attention can only be drawn for ViT backbones, not {type(backbone.vit).__name__}")
    if not model.pwca_blocks:
        raise InputError(
            "the model has no pair-wise block to draw; it needs no weights of its own, so set "
            f"MODEL.DCAL.PWCA.NUM_BLOCKS {len(backbone.blocks)}"
        )
    if not batch or batch % 2:
        raise InputError(f"there are {batch} images; give pairs of images, which are each other's distractor")

    partner = torch.arange(batch, device=x.device) ^ 1
    x, joint = backbone.embed(x), []
    for number in range(len(backbone.blocks)):
        if number < first:
            joint.append(_side_by_side(_attention(backbone, number, x), partner))
            x, _ = backbone.self_block(number, x)
        else:
            stream, starts = model.distractor_stream, number == first
            joint.append(_joint_attention(backbone, number, x, partner, stream, starts))
            x, _ = backbone.pair_block(number, x, partner, stream, starts)

    r = torch.zeros(batch, 1, joint[0].shape[2], device=x.device)
    r[:, :, 0] = 1
    for attention in reversed(joint):
        r = 0.5 * r + 0.5 * r @ attention
    last, rollout = (
        torch.stack([_on_grid(backbone, half) for half in weights.chunk(2, dim=1)], dim=1)
        for weights in (joint[-1][:, 0], r[:, 0])
    )
    return PairAttentionMaps(last, rollout)


def _with_cls_token(backbone: Backbone) -> Backbone:
    if backbone.grid_size is None:
        raise InputError(f"{type(backbone.vit).__name__} has no CLS token whose attention could be drawn")
    return backbone


def _on_grid(backbone: Backbone, r: Tensor) -> Tensor:
    """Weights over tokens (B, num_prefix + N) -> the patches' weights (B, gh, gw)."""
    return r[:, backbone.num_prefix :].unflatten(1, backbone.grid_size)


def _attention(backbone: ViTBackbone, number: int, x: Tensor) -> Tensor:
    """Self-attention of a block, averaged over heads: tokens (B, N, D) -> (B, N, N)."""
    attn = backbone.blocks[number].attn
    q, k, _ = project(attn, backbone.blocks[number].norm1(x))
    return attention_weights(q, k, attn.scale).mean(dim=1)


def _side_by_side(attention: Tensor, partner: Tensor) -> Tensor:
    """(B, N, N) -> (B, 2N, 2N): each image's own tokens and its distractor's, which do not attend to each other."""
    none = torch.zeros_like(attention)
    return torch.cat([torch.cat([attention, none], dim=2), torch.cat([none, attention[partner]], dim=2)], dim=1)


def _joint_attention(
    backbone: ViTBackbone, number: int, x: Tensor, partner: Tensor, distractor_stream: str, starts: bool
) -> Tensor:
    """Attention of a pair-wise block, averaged over heads: both streams, as for ``Backbone.pair_block`` -> (B, 2N, 2N).

    The tokens are those of the image in its pair-wise stream, then the distractor's in the stream of its keys."""
    attn = backbone.blocks[number].attn
    q, k, _ = project(attn, backbone.blocks[number].norm1(x))
    images, pairs, _ = stream_places(len(x), len(partner), distractor_stream, starts)
    both_k = torch.cat([k[pairs], of_distractors(k, partner, distractor_stream, starts)], dim=2)
    rows = attention_weights(q[pairs], both_k, attn.scale).mean(dim=1)  # (B, N, 2N)
    if distractor_stream == "pwca":
        own, other = rows[partner].chunk(2, dim=2)
        return torch.cat([rows, torch.cat([other, own], dim=2)], dim=1)
    own = attention_weights(q[:images], k[:images], attn.scale).mean(dim=1)[partner]
    return torch.cat([rows, torch.cat([torch.zeros_like(own), own], dim=2)], dim=1)
