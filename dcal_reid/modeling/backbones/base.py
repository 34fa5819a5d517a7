"""The interface that DCAL requires of a backbone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...errors import InputError

__all__ = ["Backbone", "attention_replaced", "both_streams", "check_has_blocks", "check_patches_divide"]

# What a block returns for rollout: its queries and keys, (B, h, n, d) and (B, h, N, d). None: no CLS token attends.
State = tuple[Tensor, Tensor] | None


class Backbone(nn.Module):
    """A timm network taken apart into blocks, so that the branches can share them.

    Below, X are tokens, (B, ..., D) in whatever shape the network uses, and "both streams" are (S + B, ..., D): the
    self-attention stream of S images, then the pair-wise stream of the first B of them.

    Attributes:
        vit: timm's model, without its classifier.
        embed_dim: D, the width of the feature.
        blocks: the blocks in which the branches attend, in order. If empty, the network can only be a baseline.
        norm: the final norm.
        num_cls_blocks: in how many of the last blocks a CLS token attends; GLCA can run beside these. 0: no GLCA.
        num_prefix: the number of tokens before the patches in these blocks: the CLS token and registers.
        grid_size: (rows, columns) of patches; None if no CLS token attends.
    """

    embed_dim: int
    num_cls_blocks: int = 0
    num_prefix: int = 1
    grid_size: tuple[int, int] | None = None

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit

    @staticmethod
    def check(name: str, vit: nn.Module, size: tuple[int, int]) -> None:
        """Refuse a model, or an image size (height, width), that this adapter does not support.

        Raises:
            InputError: says what is wrong, and with which value.
        """

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return ()

    @property
    def norm(self) -> nn.Module:
        return self.vit.norm

    def embed(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> X_0."""
        raise NotImplementedError

    def self_block(self, number: int, x: Tensor, cls_only: bool = False) -> tuple[Tensor, State]:
        """Block ``number`` of the self-attention stream. cls_only: only the CLS token's output is needed."""
        raise NotImplementedError

    def pair_block(
        self, number: int, x: Tensor, partner: Tensor, distractor_stream: str, starts: bool, cls_only: bool = False
    ) -> tuple[Tensor, State]:
        """Block ``number`` of both streams (DCAL eqs. 1 and 4).

        Args:
            number: the index of the block.
            x: both streams.
            partner: (B,), the position of each image's distractor within the distractor's stream.
            distractor_stream: which stream the distractors' keys and values come from, sa | pwca; noise: random ones.
            starts: the pair-wise stream starts here as a copy of the self-attention stream; x holds only the latter.
            cls_only: only the CLS tokens' outputs are needed.

        Returns:
            Both streams, and the state of the self-attention stream.
        """
        raise NotImplementedError

    def read_out(self, x: Tensor) -> Tensor:
        """X_L -> the feature (B, D): by default the normalised CLS token, which is the first token."""
        return self.norm(x[:, :1])[:, 0]

    @staticmethod
    def cross_block(block: nn.Module, queries: Tensor, context: Tensor) -> Tensor:
        """A block whose queries are tokens (B, n, D), and whose keys and values come from (B, N, D): -> (B, n, D)."""
        raise NotImplementedError

    @staticmethod
    def cross_attention(block: nn.Module, queries: Tensor, context: Tensor) -> Tensor:
        """The attention of ``cross_block``, averaged over heads: -> (B, n, N) in fp32."""
        raise NotImplementedError

    def cls_rollout(self, states: Sequence[State]) -> Tensor:
        """The CLS token's row of the accumulated attention over blocks (DCAL eq. 2): -> (B, N) in fp32."""
        raise NotImplementedError

    def roll_back(self, r: Tensor, states: Sequence[State]) -> Tensor:
        """Propagate weights over tokens (B, N) from the output of some blocks back to their input."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """The feature as a map (B, D, 1, 1), so that fast-reid's own meta-architectures can use the backbone."""
        x = self.embed(images)
        for number in range(len(self.blocks)):
            x, _ = self.self_block(number, x)
        return self.read_out(x)[:, :, None, None]


@contextmanager
def attention_replaced(attn: nn.Module, function: Callable[..., Tensor]) -> Iterator[None]:
    """Let ``attn`` compute ``function`` instead, so that its block differs in nothing but the attention."""
    forward = attn.forward  # restored by assignment: torch.compile cannot trace the deletion of an attribute
    attn.forward = function
    try:
        yield
    finally:
        attn.forward = forward


def both_streams(x: Tensor, partner: Tensor, starts: bool) -> Tensor:
    """Both streams; where the pair-wise stream starts, it is copied from the self-attention stream."""
    return torch.cat([x, x[: len(partner)]]) if starts else x


def check_has_blocks(name: str, option: str, *stages: Sequence[nn.Module]) -> None:
    """
    Raises:
        InputError: a stage has no blocks; ``option`` of TIMM_KWARGS sets their number.
    """
    if not all(len(stage) for stage in stages):
        where = " in a stage" if len(stages) > 1 else ""
        raise InputError(
            f"MODEL.BACKBONE.TIMM_MODEL {name!r} has no blocks{where}; set TIMM_KWARGS.{option} to 1 or more"
        )


def check_patches_divide(name: str, vit: nn.Module, size: tuple[int, int]) -> None:
    """
    Raises:
        InputError: images of this size, (height, width), do not divide into whole patches.
    """
    (height, width), (patch_height, patch_width) = size, vit.patch_embed.patch_size
    if height % patch_height or width % patch_width:
        raise InputError(
            f"the input size {height}x{width} is not a multiple of the patch size {patch_height}x{patch_width} of "
            f"{name!r}; change INPUT.SIZE_TRAIN and INPUT.SIZE_TEST"
        )
