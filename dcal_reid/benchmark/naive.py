"""DCAL as its equations are written down, regardless of cost: the reference for a benchmark.

Every attention matrix is computed and kept, rollout is the product of whole matrices, self-attention and pair-wise
cross-attention are two passes through the blocks, and every block computes every token.
"""

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..errors import InputError
from ..modeling.dcal import DCAL
from ..modeling.rollout import top_patches

__all__ = ["NaiveDCAL"]


class NaiveDCAL(nn.Module):
    """Gives the same outputs as ``dcal``, from the same weights."""

    def __init__(self, dcal: DCAL) -> None:
        """
        Args:
            dcal: with one GLCA block in parallel, or none, and distractors from the batch, or no PWCA.

        Raises:
            InputError: another arrangement of blocks.
        """
        super().__init__()
        if dcal.glca is not None and (len(dcal.glca.blocks) != 1 or dcal.glca_input != "parallel"):
            raise InputError(
                f"naive DCAL has one GLCA block in parallel, not {len(dcal.glca.blocks)} {dcal.glca_input}; set "
                "MODEL.DCAL.GLCA.NUM_BLOCKS 1 and MODEL.DCAL.GLCA.INPUT parallel"
            )
        if dcal.pwca_blocks and dcal.distractors != "batch":
            raise InputError(
                f"naive DCAL has no distractors from {dcal.distractors!r}; set MODEL.DCAL.PWCA.DISTRACTORS batch"
            )
        self.dcal = dcal

    def forward(self, batch: dict | Tensor):
        """As ``DCAL.forward``."""
        dcal, blocks, norm = self.dcal, self.dcal.backbone.blocks, self.dcal.backbone.norm
        partner = None
        if self.training and dcal.pwca_blocks:
            partner = dcal.pair_sampler(batch["targets"]).to(dcal.device)

        x = dcal.backbone.embed(dcal.preprocess_image(batch))  # (B, N, D)
        inputs, keys_values, attentions = [], [], []
        for block in blocks:
            inputs.append(x)
            q, k, v = _project(block, x)
            attended, attention = _attend(block.attn, q, k, v)
            x = _finish(block, x, attended)
            keys_values.append((k, v))
            attentions.append(attention)
        features = {"sa": norm(x)[:, 0]}

        if partner is not None:
            first = len(blocks) - dcal.pwca_blocks
            z = inputs[first]
            for block, of_sa in zip(blocks[first:], keys_values[first:], strict=True):
                q, *of_pwca = _project(block, z)
                of_distractors = of_sa if dcal.distractor_stream == "sa" else of_pwca
                k, v = (  # (B, h, 2N, d)
                    torch.cat([own, others[partner]], dim=2)
                    for own, others in zip(of_pwca, of_distractors, strict=True)
                )
                z = _finish(block, z, _attend(block.attn, q, k, v)[0])
            features["pwca"] = norm(z)[:, 0]
        if dcal.glca is not None:
            features["glca"] = self._glca(inputs[-1], _rollout(attentions))

        if self.training:
            return dcal.losses(features, batch["targets"].to(dcal.device))
        outputs = [dcal.heads[branch](features[branch]) for branch in dcal.inference.split("+")]
        return dcal.heads["sa"].combine(outputs)

    def _glca(self, context: Tensor, rollout: Tensor) -> Tensor:
        """Tokens (B, N, D) and rollout (B, N, N) -> the feature (B, D)."""
        glca = self.dcal.glca
        (block,) = glca.blocks
        patches = 1 + top_patches(rollout[:, 0], glca.ratio)
        chosen = torch.cat([torch.zeros_like(patches[:, :1]), patches], dim=1)  # (B, n)
        images = torch.arange(len(chosen), device=chosen.device)[:, None]
        q, k, v = _project(block, context)
        q = q.transpose(1, 2)[images, chosen].transpose(1, 2)  # (B, h, n, d)
        tokens = glca.norm(_finish(block, context[images, chosen], _attend(block.attn, q, k, v)[0]))
        if glca.readout == "mean":
            return tokens.mean(dim=1)
        return tokens[:, 0] if glca.readout == "cls" else 0.5 * (tokens[:, 0] + tokens[:, 1:].mean(dim=1))


def _project(block: Block, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, D) -> queries, keys and values (B, h, N, d)."""
    attn = block.attn
    qkv = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, attn.head_dim))  # (B, N, 3, h, d)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return attn.q_norm(q), attn.k_norm(k), v


def _attend(attn: Attention, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean of the values (B, n, h d), and the attention matrix (B, h, n, N)."""
    attention = (q @ k.transpose(-2, -1) * attn.scale).softmax(dim=-1)
    return (attn.attn_drop(attention) @ v).transpose(1, 2).flatten(2), attention


def _finish(block: Block, x: Tensor, attended: Tensor) -> Tensor:
    attn = block.attn
    x = x + block.drop_path1(block.ls1(attn.proj_drop(attn.proj(attn.norm(attended)))))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


@torch.no_grad()
def _rollout(attentions: list[Tensor]) -> Tensor:
    """L times (B, h, N, N) -> (B, N, N), DCAL eq. 2."""
    identity = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    product = identity
    for attention in attentions:
        product = (0.5 * attention.mean(dim=1) + 0.5 * identity) @ product
    return product
