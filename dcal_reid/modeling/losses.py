"""The loss of one branch (cross-entropy and triplet), and the uncertainty weights that combine the branches."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.modeling.losses.triplet_loss import hard_example_mining, weighted_example_mining
from fastreid.modeling.losses.utils import cosine_dist, euclidean_dist
from torch import Tensor, nn

__all__ = ["BranchLoss", "LossWeights"]


class BranchLoss:
    """Cross-entropy on the logits and triplet loss on the features, as MODEL.LOSSES specifies. Both in fp32.

    In fp16 the squared distance of two features of norm 28 is off by more than the triplet margin.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.names = cfg.MODEL.LOSSES.NAME
        self.ce = cfg.MODEL.LOSSES.CE
        self.tri = cfg.MODEL.LOSSES.TRI

    def __call__(self, cls_outputs: Tensor, features: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """
        Args:
            cls_outputs: (B, classes) logits.
            features: (B, D), before or after the BNNeck as MODEL.HEADS.NECK_FEAT says.
            targets: (B,) identity labels.

        Returns:
            The terms by name, scaled: ``ce``, ``triplet``.
        """
        terms = {}
        with torch.autocast(features.device.type, enabled=False):
            if "CrossEntropyLoss" in self.names:
                # fast-reid distributes epsilon over the K - 1 other classes, PyTorch over all K.
                classes = cls_outputs.shape[1]
                smoothing = self.ce.EPSILON * classes / max(classes - 1, 1)
                ce = F.cross_entropy(cls_outputs.float(), targets, label_smoothing=smoothing)
                terms["ce"] = ce * self.ce.SCALE
            if "TripletLoss" in self.names:
                terms["triplet"] = self._triplet(features.float(), targets) * self.tri.SCALE
        return terms

    def _triplet(self, features: Tensor, targets: Tensor) -> Tensor:
        """fast-reid's ``triplet_loss`` without reading its value, which would synchronise with the GPU in every step.

        fast-reid checks whether a soft margin has overflowed. ``softplus``, the same function, cannot overflow.
        """
        distances = (cosine_dist if self.tri.NORM_FEAT else euclidean_dist)(features, features)
        same = targets[:, None] == targets[None, :]
        mining = hard_example_mining if self.tri.HARD_MINING else weighted_example_mining
        positive, negative = mining(distances, same.float(), (~same).float())
        if self.tri.MARGIN > 0:
            return F.relu(positive - negative + self.tri.MARGIN).mean()
        return F.softplus(positive - negative).mean()


class LossWeights(nn.Module):
    """Combines the losses of the branches.

    learned: 1/2 sum_b (exp(-w_b) L_b + w_b) with learned w (Kendall et al., 2018, as in FairMOT, which DCAL names in
    sec. 4.1 for its "dynamic loss weights"). fixed: sum_b exp(-w_b) L_b.
    """

    def __init__(self, kind: str, initial: Mapping[str, float]) -> None:
        """
        Args:
            kind: learned | fixed.
            initial: the initial w_b, by branch.
        """
        super().__init__()
        self.learned = kind == "learned"
        self.branches = tuple(initial)
        w = torch.tensor(list(initial.values()), dtype=torch.float32)
        if self.learned:
            self.w = nn.Parameter(w)
        else:
            self.register_buffer("w", w, persistent=False)

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms by branch; their sum is the training loss."""
        terms = {}
        for w, branch in zip(self.w, self.branches, strict=True):
            terms[branch] = torch.exp(-w) * losses[branch]
            if self.learned:
                terms[branch] = 0.5 * (terms[branch] + w)
        return terms
