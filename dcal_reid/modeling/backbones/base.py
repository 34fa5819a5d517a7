"""What DCAL asks of a backbone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...errors import InputError

__all__ = ["Backbone", "attention_replaced", "both_streams", "check_has_blocks", "check_patches_divide"]

# What a block hands out for rollout: its queries and keys, (B, h, n, d) and (B, h, N, d). None: no CLS token attends.
State = tuple[Tensor, Tensor] | None


class Backbone(nn.Module):
    """A timm network taken apart into blocks, so that the branches can share them.

    In what follows X are tokens, (B, ..., D) in whatever shape the network has them, and "both streams" are
    (S + B, ..., D): the self-attention stream of S images, and then the pair-wise stream of the first B of them.

    Attributes:
        vit: timm's model, without its classifier.
        embed_dim: D, of the feature.
        blocks: the blocks in which images attend, in order. Without any, the network can only be a baseline.
        norm: the final norm.
        num_cls_blocks: in how many of the last blocks a CLS token attends; GLCA can stand beside these. 0: no GLCA.
        num_prefix: tokens before the patches where a CLS token attends: the CLS token and registers.
        grid_size: (rows, columns) of patches; None where no CLS token attends.
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
        """Refuse a model, or a size (height, width) of its images, that this adapter cannot serve.

        Raises:
            InputError: what is wrong, and with which value.
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
        """Block ``number`` of the self-attention stream. cls_only: no more than the CLS token's output is wanted."""
        raise NotImplementedError

    def pair_block(
        self, number: int, x: Tensor, partner: Tensor, distractor_stream: str, starts: bool, cls_only: bool = False
    ) -> tuple[Tensor, State]:
        """Block ``number`` of both streams (DCAL eqs. 1 and 4).

        Args:
            number: which block.
            x: both streams.
            partner: (B,), for each image the position in its stream of its distractor.
            distractor_stream: whose keys and values a distractor gives, sa | pwca; noise: they are random.
            starts: the pair-wise stream starts here, from the self-attention stream, which is all that x holds.
            cls_only: no more than the CLS tokens' outputs are wanted.

        Returns:
            both streams, and the state of the self-attention stream.
        """
        raise NotImplementedError

    def read_out(self, x: Tensor) -> Tensor:
        """X_L -> the feature (B, D): by default the normalised CLS token, which is the first."""
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
        """Carry weights over tokens (B, N) from the output of some blocks back to their input."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """The feature as a feature map (B, D, 1, 1), so that fast-reid's own meta-architectures can use it."""
        x = self.embed(images)
        for number in range(len(self.blocks)):
            x, _ = self.self_block(number, x)
        return self.read_out(x)[:, :, None, None]


@contextmanager
def attention_replaced(attn: nn.Module, function: Callable[..., Tensor]) -> Iterator[None]:
    """Let ``attn`` compute ``function`` instead, so that nothing but the attention of its block differs."""
    forward = attn.forward  # put back, not uncovered: torch.compile cannot follow a deletion
    attn.forward = function
    try:
        yield
    finally:
        attn.forward = forward


def both_streams(x: Tensor, partner: Tensor, starts: bool) -> Tensor:
    """Both streams, also where the pair-wise stream only starts."""
    return torch.cat([x, x[: len(partner)]]) if starts else x


def check_has_blocks(name: str, option: str, *stages: Sequence[nn.Module]) -> None:
    """
    Raises:
        InputError: a stage has no blocks; ``option`` of TIMM_KWARGS says how many.
    """
    if not all(len(stage) for stage in stages):
        where = " in a stage" if len(stages) > 1 else ""
        raise InputError(
            f"MODEL.BACKBONE.TIMM_MODEL {name!r} has no blocks{where}; set TIMM_KWARGS.{option} to 1 or more"
        )


def check_patches_divide(name: str, vit: nn.Module, size: tuple[int, int]) -> None:
    """
    Raises:
        InputError: images of this size, (height, width), are not made of whole patches.
    """
    (height, width), (patch_height, patch_width) = size, vit.patch_embed.patch_size
    if height % patch_height or width % patch_width:
        raise InputError(
            f"the input size {height}x{width} is not a multiple of the patch size {patch_height}x{patch_width} of "
            f"{name!r}; change INPUT.SIZE_TRAIN and INPUT.SIZE_TEST"
        )
