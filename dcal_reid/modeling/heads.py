"""The re-identification head: BNNeck, embedding and identity classifier of one branch."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.heads.embedding_head import EmbeddingHead
from torch import Tensor, nn

__all__ = ["DCALHead", "running_statistics_kept"]


@REID_HEADS_REGISTRY.register()
class DCALHead(EmbeddingHead):
    """fast-reid's ``EmbeddingHead`` on a feature vector instead of a feature map.

    Triplet loss before the BNNeck and cross-entropy after it (MODEL.HEADS.NECK_FEAT: before), as in fast-reid and
    TransReID. One instance serves the SA and the PWCA branch, another the GLCA branch.
    """

    def forward(self, features: Tensor, targets: Tensor | None = None):
        """
        Args:
            features: (B, D).
            targets: (B,) identity labels, in training.

        Returns:
            In training a dict with ``cls_outputs`` (B, classes; with margin), ``pred_class_logits`` (B, classes) and
            ``features`` (B, D); else the embedding (B, D).
        """
        return super().forward(features[:, :, None, None], targets)


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norm normalises with the batch's statistics but does not add them to its running ones.

    For the PWCA branch: inference uses the shared head on SA features only, so only those may be averaged.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
