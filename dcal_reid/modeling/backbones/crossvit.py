"""CrossViT (Chen et al., 2021) as a baseline: two branches with patches of two sizes, read out by their CLS tokens."""

from timm.models.crossvit import CrossVit
from torch import Tensor

from ...errors import InputError
from .base import Backbone

__all__ = ["CrossViTBackbone"]


class CrossViTBackbone(Backbone):
    """The feature is the concatenation of both CLS tokens. Blocks work on two sequences at once: no GLCA, no PWCA."""

    def __init__(self, vit: CrossVit) -> None:
        super().__init__(vit)
        self.embed_dim = vit.num_features

    @staticmethod
    def check(name: str, vit: CrossVit, size: tuple[int, int]) -> None:
        height, width = size
        embeds = vit.patch_embed  # one per branch; the branches see the image at two sizes
        if any(side % patch for embed in embeds for side, patch in zip(embed.img_size, embed.patch_size, strict=True)):
            raise InputError(
                f"the input size {height}x{width} does not suit {name!r}, whose two patch sizes do not both divide it; "
                "set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST, or INPUT.CROP.SIZE, to multiples of "
                f"{vit.pretrained_cfg['input_size'][-1]}"
            )

    def embed(self, images: Tensor) -> Tensor:
        return self.vit.forward_head(self.vit.forward_features(images), pre_logits=True)

    def read_out(self, x: Tensor) -> Tensor:
        return x
