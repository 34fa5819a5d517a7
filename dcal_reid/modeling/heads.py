"""The heads of a branch, for re-identification and for classification."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from fastreid.config import CfgNode
from fastreid.modeling.heads import REID_HEADS_REGISTRY, ClasHead, EmbeddingHead
from torch import Tensor, nn

from ..errors import InputError

__all__ = ["DCALClassificationHead", "DCALHead", "check_group_norm", "running_statistics_kept"]


@REID_HEADS_REGISTRY.register()
class DCALHead(EmbeddingHead):
    """fast-reid's ``EmbeddingHead`` on a feature vector instead of a feature map.

    The triplet loss uses features before the BNNeck and the cross-entropy those after it (MODEL.HEADS.NECK_FEAT:
    before), as in fast-reid and TransReID. SA and PWCA share one instance; GLCA has another.
    """

    def forward(self, features: Tensor, targets: Tensor | None = None):
        """
        Args:
            features: (B, D).
            targets: (B,) identity labels, in training.

        Returns:
            In training a dict with ``cls_outputs`` (B, classes), margin included, ``pred_class_logits`` (B, classes)
            and ``features`` (B, D); else the embedding (B, D).
        """
        return super().forward(features[:, :, None, None], targets)

    @staticmethod
    def combine(outputs: Sequence[Tensor]) -> Tensor:
        """The branches' embeddings, concatenated (DCAL sec. 4.1): b times (B, D) -> (B, b D)."""
        return torch.cat(list(outputs), dim=1)


@REID_HEADS_REGISTRY.register()
class DCALClassificationHead(ClasHead):
    """fast-reid's ``ClasHead`` on a feature vector: a linear classifier, in fp32.

    SA and PWCA share one instance; GLCA has another.
    """

    def forward(self, features: Tensor, targets: Tensor | None = None):
        """
        Args:
            features: (B, D).
            targets: (B,) labels, in training.

        Returns:
            In training a dict with ``cls_outputs`` and ``pred_class_logits`` (B, classes) and ``features`` (B, D);
            else the class probabilities (B, classes).
        """
        with torch.autocast(features.device.type, enabled=False):
            outputs = super().forward(features.float()[:, :, None, None], targets)
        return outputs if self.training else outputs.softmax(dim=1)

    @staticmethod
    def combine(outputs: Sequence[Tensor]) -> Tensor:
        """The sum of the branches' probabilities (DCAL sec. 4.1): b times (B, classes) -> (B, classes)."""
        return torch.stack(list(outputs)).sum(dim=0)


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Let batch norm normalise with the batch's statistics without updating its running statistics.

    For the PWCA branch: inference applies the shared head to SA features only, so by default only SA features count.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def check_group_norm(cfg: CfgNode) -> None:
    """
    Raises:
        InputError: MODEL.HEADS.NORM is GN, and the number of features is not divisible by fast-reid's 32 groups.
    """
    heads = cfg.MODEL.HEADS
    width = heads.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM
    if heads.WITH_BNNECK and heads.NORM == "GN" and width % 32:
        raise InputError(
            f"MODEL.HEADS.NORM is GN, whose 32 groups do not divide features of {width}; set it BN, or "
            "MODEL.HEADS.EMBEDDING_DIM to a multiple of 32"
        )
