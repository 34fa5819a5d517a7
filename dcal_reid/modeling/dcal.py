"""Dual cross-attention learning: the meta-architecture (Zhu et al., CVPR 2022).

Three branches process each image. SA is the backbone's self-attention. GLCA has M blocks of its own, whose queries are
the CLS token and the patches that SA attends to most. PWCA, in training only, runs the backbone again with a second
image as distractor.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from .attention_maps import AttentionMaps, PairAttentionMaps, attention_maps, pair_attention_maps
from .backbones import Backbone
from .dcal_parts import dcal_parts
from .glca import GLCA
from .heads import running_statistics_kept
from .losses import BranchLoss, LossWeights

__all__ = ["DCAL", "AttentionMaps", "check_attention"]


@META_ARCH_REGISTRY.register()
class DCAL(nn.Module):
    """SA, GLCA and PWCA branches on one timm vision transformer. Without GLCA and PWCA it is the plain baseline.

    The contract is that of fast-reid's ``Baseline``. Called with a batch (dict), the model returns in training a dict
    of losses whose sum is the training loss; in evaluation it returns the features (B, D) or (B, 2D), or with a
    classification head the class scores (B, classes). The batch is not changed.
    After a training step, ``metrics`` holds the detached scalars worth logging.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        heads: dict[str, nn.Module],
        glca: GLCA | None,
        glca_input: str,
        glca_selection: str,
        pwca_blocks: int,
        distractor_stream: str,
        neck_statistics: str,
        distractors: str,
        pair_sampler,
        branch_loss: BranchLoss,
        loss_weights: LossWeights | None,
        inference: str,
        pixel_mean: list[float],
        pixel_std: list[float],
        image_noise: float = 0.0,
        label_noise: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> None:
        """
        Args:
            backbone: shared by all branches.
            heads: by branch, ``sa`` (which PWCA shares) and, with GLCA, ``glca``.
            glca: the GLCA branch, or None.
            glca_input: parallel | stacked, what the first GLCA block reads.
            glca_selection: rollout | last | penultimate | random, how the local queries are selected.
            pwca_blocks: T; the last T blocks are pair-wise. 0: no PWCA.
            distractor_stream: sa | pwca.
            neck_statistics: sa | sa+pwca, whose features update the running statistics of the shared BNNeck.
            distractors: batch | noise | noise_image | external, what they are.
            pair_sampler: for distractors of the batch, identities (B,) -> index (B,) of each image's distractor.
            branch_loss: the loss of one branch.
            loss_weights: how the branches' losses are combined; None with a single branch.
            inference: sa+glca | sa | glca, the features outside training.
            pixel_mean, pixel_std: of the three channels, in 0..255.
            image_noise: standard deviation of the noise on normalised training images.
            label_noise: share of training images that get a label drawn at random.
            activation_checkpointing: recompute each block's activations in the backward pass.
        """
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.glca = glca
        self.glca_input = glca_input
        self.glca_selection = glca_selection
        self.pwca_blocks = pwca_blocks
        self.distractor_stream = distractor_stream
        self.neck_statistics = neck_statistics
        self.distractors = distractors
        self.pair_sampler = pair_sampler
        self.branch_loss = branch_loss
        self.loss_weights = loss_weights
        self.inference = inference
        self.image_noise = image_noise
        self.label_noise = label_noise
        self.activation_checkpointing = activation_checkpointing
        self.metrics: dict[str, Tensor] = {}
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """
        Raises:
            InputError: a backbone or a head that the branches cannot share, or that does not fit the other keys.
        """
        return dcal_parts(cfg)

    def copy_into_glca(self) -> None:
        """Copy the backbone's current weights into GLCA, if there is a GLCA and MODEL.DCAL.GLCA.INIT is copy."""
        if self.glca is not None and self.glca.init == "copy":
            self.glca.copy_weights(self.backbone.blocks[-len(self.glca.blocks) :], self.backbone.norm)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def compile(self, **options) -> None:
        """Apply ``torch.compile`` to the branches. The heads and the losses are cheap and are not compiled."""
        self.branch_features = torch.compile(self.branch_features, **options)

    def forward(self, batched_inputs: dict | Tensor):
        """
        Args:
            batched_inputs: a dict with ``images`` (B, 3, H, W), uint8 or float in 0..255, on any device, and in
                training ``targets`` (B,); outside training the images tensor alone is enough.

        Returns:
            In training ``{"loss_sa": ..., ...}``; else the combined head outputs of the branches that
            MODEL.DCAL.INFERENCE names: the features (B, D), or (B, 2D) for sa+glca; for classification the sum of the
            branches' probabilities (B, classes).
        """
        if not self.training:
            return self.heads["sa"].combine(list(self.branch_outputs(batched_inputs).values()))
        return self.training_losses(**self.training_inputs(batched_inputs))

    def training_inputs(self, batch: dict) -> dict[str, Tensor]:
        """The tensors of a batch that a training step needs, on the model's device. Chooses distractors of the batch.

        Returns:
            ``images`` (B, 3, H, W) in 0..255, ``targets`` (B,); ``partner`` (B,), the position of each image's
            distractor, if distractors come from the batch; ``distractors`` (B, 3, H, W) if they come from another data
            set.

        Raises:
            InputError: no distractor can be chosen, or the distractors of another data set differ in shape.
        """
        inputs = {"images": batch["images"], "targets": batch["targets"]}
        if self.pwca_blocks and self.distractors == "batch":
            inputs["partner"] = self.pair_sampler(batch["targets"])
        elif self.pwca_blocks and self.distractors == "external":
            inputs["distractors"] = foreign = batch["distractors"]
            if foreign.shape != inputs["images"].shape:
                raise InputError(
                    f"there are distractors {tuple(foreign.shape)} for images {tuple(inputs['images'].shape)}"
                )
        return {name: value.to(self.device, non_blocking=True) for name, value in inputs.items()}

    def training_losses(
        self, images: Tensor, targets: Tensor, partner: Tensor | None = None, distractors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The losses of ``training_inputs``. Nothing here waits for the device (``engine.captured``)."""
        images, foreign = self.preprocess_image(images), None
        if self.pwca_blocks and self.distractors == "noise":
            partner = torch.arange(len(images), device=self.device)  # only its length is used: noise has no keys
        elif self.pwca_blocks and self.distractors != "batch":
            foreign = torch.randn_like(images) if distractors is None else self.preprocess_image(distractors)
            partner = len(images) + torch.arange(len(images), device=self.device)
        if self.image_noise:
            images = images + self.image_noise * torch.randn_like(images)
        if self.label_noise:
            others = torch.randint_like(targets, len(self.heads["sa"].weight))
            replaced = torch.rand(targets.shape, device=targets.device) < self.label_noise
            targets = torch.where(replaced, others, targets)
        return self.losses(self.branch_features(images, partner, foreign), targets)

    def branch_outputs(self, batched_inputs: dict | Tensor) -> dict[str, Tensor]:
        """Outside training: the head output of each branch of MODEL.DCAL.INFERENCE, before they are combined.

        Returns:
            (B, D) embeddings or (B, classes) probabilities, by branch.
        """
        features = self.branch_features(self.preprocess_image(batched_inputs))
        return {branch: self.heads[branch](features[branch]) for branch in self.inference.split("+")}

    def preprocess_image(self, batched_inputs: dict | Tensor) -> Tensor:
        """Images on the model's device, normalised; the input is not changed (fast-reid changes it in place)."""
        images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
        images = images.to(self.device, non_blocking=True).to(self.pixel_mean.dtype)
        return (images - self.pixel_mean) / self.pixel_std

    def branch_features(
        self, images: Tensor, partner: Tensor | None = None, foreign: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The features before the heads, (B, D) each, of the branches that are needed.

        Args:
            images: (B, 3, H, W), normalised.
            partner: (B,), the position of each image's distractor in the batch; positions from B on are in ``foreign``.
                None: no PWCA.
            foreign: further images, used as distractors only.
        """
        wanted = {"sa", "glca"} if self.training else set(self.inference.split("+"))
        glca = self.glca if "glca" in wanted else None
        backbone, num_blocks = self.backbone, len(self.backbone.blocks)
        first_pairwise = num_blocks - (self.pwca_blocks if partner is not None else 0)
        distractor_stream = "noise" if self.distractors == "noise" else self.distractor_stream
        first_state, end_state = self.selection_blocks if glca is not None and glca.needs_selection else (0, 0)

        # (S, 1 + N, D): the batch, then the foreign images. From the first pair-wise block on (S + B, 1 + N, D): the
        # self-attention stream, then the pair-wise stream.
        x = backbone.embed(images if foreign is None else torch.cat([images, foreign]))
        batch, contexts, states = images.shape[0], [], []
        for number in range(num_blocks):
            if glca is not None and self._feeds_glca(number):
                contexts.append(x[:batch])
            # Nothing reads the last block's patches unless GLCA is stacked on them.
            cls_only = number == num_blocks - 1 and not (glca is not None and self.glca_input == "stacked")
            if number < first_pairwise:
                x, state = self._run(backbone.self_block, number, x, cls_only)
            else:
                starts = number == first_pairwise
                x, state = self._run(backbone.pair_block, number, x, partner, distractor_stream, starts, cls_only)
            if first_state <= number < end_state:
                states.append(state and tuple(part[:batch] for part in state))

        read_out = backbone.read_out(x)  # (S, D) or (S + B, D)
        features = {"sa": read_out[:batch]}
        if partner is not None:
            features["pwca"] = read_out[-batch:]
        if glca is not None:
            contexts = contexts or [x[:batch]] * len(glca.blocks)
            features["glca"] = glca(contexts, self.response(contexts[0], states) if glca.needs_selection else None)
        return features

    def _run(self, function: Callable, *args):
        if self.activation_checkpointing and self.training:
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)

    def _feeds_glca(self, number: int) -> bool:
        """Whether a GLCA block stands beside self-attention block ``number`` and reads what it reads."""
        return self.glca_input == "parallel" and number >= len(self.backbone.blocks) - len(self.glca.blocks)

    @property
    def selection_blocks(self) -> tuple[int, int]:
        """The range of blocks, [first, end), whose attention is used to select GLCA's local queries."""
        depth = self.rollout_depth
        return {
            "rollout": (0, depth),
            "last": (depth - 1, depth),
            "penultimate": (depth - 2, depth - 1),
            "random": (0, 0),
        }[self.glca_selection]

    def response(self, x: Tensor, states: list) -> Tensor:
        """The scores (B, N) by which local queries of x (B, N, D) are selected.

        Rollout over ``states``, or random scores if there are none; outside training these are the same for all images.
        """
        if states:
            return self.backbone.cls_rollout(states)
        if self.training:
            return torch.rand(x.shape[:2], device=x.device)
        return torch.rand(x.shape[1], generator=torch.Generator().manual_seed(0)).to(x.device).expand(len(x), -1)

    @property
    def rollout_depth(self) -> int:
        """The number of blocks in the rollout for GLCA's selection: all, or up to the one beside its first block."""
        num_blocks = len(self.backbone.blocks)
        return num_blocks if self.glca_input == "stacked" else num_blocks - len(self.glca.blocks) + 1

    def losses(self, features: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """The weighted loss of each branch; the terms of the losses are put into ``metrics``.

        Args:
            features: (B, D) by branch.
            targets: (B,) identity labels.
        """
        self.metrics, totals = {}, {}
        for branch, feature in features.items():
            head = self.heads["sa" if branch == "pwca" else branch]
            averaged = branch != "pwca" or self.neck_statistics == "sa+pwca"
            with nullcontext() if averaged else running_statistics_kept(head):
                outputs = head(feature, targets)
            terms = self.branch_loss(outputs["cls_outputs"], outputs["features"], targets)
            totals[branch] = sum(terms.values())
            self.metrics |= {f"{branch}/{name}": value.detach() for name, value in terms.items()}
            hits = outputs["pred_class_logits"].detach().argmax(dim=1) == targets
            self.metrics[f"{branch}/accuracy"] = hits.float().mean()
        if self.loss_weights is not None:
            self.metrics |= {
                f"{branch}/loss_weight": w
                for branch, w in zip(self.loss_weights.branches, self.loss_weights.w.detach().clone(), strict=True)
            }
            totals = self.loss_weights(totals)
        return {f"loss_{branch}": value for branch, value in totals.items()}

    def attention_maps(self, images: dict | Tensor) -> AttentionMaps:
        """Where SA and GLCA look; see :func:`~dcal_reid.modeling.attention_maps.attention_maps`."""
        return attention_maps(self, images)

    def pair_attention_maps(self, images: dict | Tensor) -> PairAttentionMaps:
        """Where PWCA looks; see :func:`~dcal_reid.modeling.attention_maps.pair_attention_maps`."""
        return pair_attention_maps(self, images)


def check_attention(model: nn.Module) -> None:
    """
    Raises:
        InputError: the model has no ``attention_maps``: it is not a DCAL model but, for example, fast-reid's own.
    """
    if not isinstance(model, DCAL):
        raise InputError(f"{type(model).__name__} does not give its attention; choose MODEL.META_ARCHITECTURE DCAL")
