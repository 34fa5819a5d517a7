"""What the benchmarks of models run on: five cases, and for each the models that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import timm
import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.events import EventStorage
from torch import Tensor, nn

from ..config import get_cfg
from ..engine.inference import has_half_precision
from ..errors import InputError
from ..modeling.backbones import input_size, pixel_statistics
from ..modeling.losses import BranchLoss
from .measure import use_device
from .naive import NaiveDCAL

__all__ = [
    "CASES",
    "Case",
    "PlainTimm",
    "build_models",
    "case_config",
    "select_cases",
    "set_precision",
    "synthetic_batch",
    "synthetic_images",
]

_DCAL = (
    *("MODEL.META_ARCHITECTURE", "DCAL"),
    *("MODEL.BACKBONE.NAME", "build_timm_backbone"),
    *("MODEL.BACKBONE.PRETRAIN", False),
    *("MODEL.BACKBONE.DROP_PATH_RATIO", 0.1),
    *("MODEL.HEADS.POOL_LAYER", "Identity"),
    # Small enough that a model stays near its start, however often its step is repeated.
    *("SOLVER.BASE_LR", 1e-5),
)
_REID = (
    *("MODEL.HEADS.NAME", "DCALHead"),
    *("MODEL.HEADS.WITH_BNNECK", True),
    *("MODEL.LOSSES.NAME", ("CrossEntropyLoss", "TripletLoss")),
    *("MODEL.LOSSES.CE.EPSILON", 0.0),
    *("MODEL.LOSSES.TRI.HARD_MINING", True),
    *("MODEL.LOSSES.TRI.MARGIN", 0.0),
    *("MODEL.DCAL.GLCA.RATIO", 0.3),
    *("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"),
    *("SOLVER.OPT", "SGD"),
)
_CLASSIFICATION = (
    *("MODEL.HEADS.NAME", "DCALClassificationHead"),
    *("MODEL.LOSSES.NAME", ("CrossEntropyLoss",)),
    *("MODEL.LOSSES.CE.EPSILON", 0.0),
    *("MODEL.DCAL.GLCA.RATIO", 0.1),
    *("SOLVER.OPT", "AdamW"),
)
_DEMO = (*_REID, "MODEL.BACKBONE.DROP_PATH_RATIO", 0.0, "SOLVER.OPT", "AdamW")


@dataclass(frozen=True)
class Case:
    """A model, its images and its recipe, as in ``configs/`` except for the weights."""

    name: str
    timm_model: str
    size: tuple[int, int]  # height, width
    classes: int
    batch: int  # on a GPU
    cpu_batch: int
    recipe: tuple = _REID  # config keys and values in turn
    kwargs: dict = field(default_factory=dict)  # of timm.create_model


CASES = {
    case.name: case
    for case in (
        Case("vit-b-256x128", "vit_base_patch16_224.orig_in21k", (256, 128), 751, 64, 4),
        Case("vit-b-256x256", "vit_base_patch16_224.orig_in21k", (256, 256), 576, 64, 4),
        Case("deit-t-448x448", "deit_tiny_patch16_224.fb_in1k", (448, 448), 200, 16, 4, _CLASSIFICATION),
        Case("deit-s-256x128", "deit_small_patch16_224.fb_in1k", (256, 128), 751, 64, 8),
        Case(
            "demo", "vit_tiny_patch16_224", (64, 32), 100, 32, 32, _DEMO,
            {"patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 3},
        ),
    )
}  # fmt: skip


class PlainTimm(nn.Module):
    """timm's model, its linear classifier, and the losses of the case: what self-attention alone costs.

    It takes a batch as ``DCAL`` does. In training it returns the losses, else the feature (B, D).
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        backbone = cfg.MODEL.BACKBONE
        self.vit = timm.create_model(
            backbone.TIMM_MODEL,
            img_size=input_size(cfg),
            num_classes=cfg.MODEL.HEADS.NUM_CLASSES,
            drop_path_rate=backbone.DROP_PATH_RATIO,
            **backbone.TIMM_KWARGS,
        )
        self.loss = BranchLoss(cfg)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in pixel_statistics(cfg))
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)

    def forward(self, batch: dict | Tensor):
        images = batch["images"] if isinstance(batch, dict) else batch
        tokens = self.vit.forward_features((images.float() - self.pixel_mean) / self.pixel_std)
        feature = self.vit.forward_head(tokens, pre_logits=True)
        return self.loss(self.vit.head(feature), feature, batch["targets"]) if self.training else feature


class _FastReidViT(nn.Module):
    """fast-reid's baseline on its own vision transformer, with an ``EventStorage`` for its scalars."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS.NAME = "FastReIDBaseline", "EmbeddingHead"
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FEAT_DIM = "build_fastreid_vit", 768
        self.model = build_model(cfg)

    def forward(self, batch: dict | Tensor):
        with EventStorage():
            return self.model(batch)


def select_cases(names: Sequence[str] | None) -> list[Case]:
    """The cases with these names; all if none are given.

    Raises:
        InputError: an unknown name.
    """
    for name in names or ():
        if name not in CASES:
            raise InputError(f"unknown case {name!r}; use one of {', '.join(CASES)}")
    return [CASES[name] for name in names or CASES]


def case_config(case: Case, device: str = "cpu", amp: str = "none", readout: str = "mean") -> CfgNode:
    """The configuration of DCAL on a case, without pretrained weights.

    Args:
        case: which.
        device: cpu | cuda.
        amp: none | bf16.
        readout: of GLCA, cls | mean.

    Raises:
        InputError: there is no GPU for cuda, or the processor has no instructions for bf16.
    """
    cfg = get_cfg()
    cfg.MODEL.DEVICE = use_device(device)
    cfg.merge_from_list([*_DCAL, *case.recipe])
    cfg.MODEL.BACKBONE.TIMM_MODEL = case.timm_model
    cfg.MODEL.BACKBONE.TIMM_KWARGS = CfgNode(case.kwargs, new_allowed=True)
    cfg.MODEL.HEADS.NUM_CLASSES = case.classes
    cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = case.kwargs.get("depth", 12)
    cfg.MODEL.DCAL.GLCA.READOUT = readout
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = list(case.size)
    set_precision(cfg, amp)
    cfg.freeze()
    return cfg


def set_precision(cfg: CfgNode, amp: str) -> None:
    """Apply ``--amp`` none | bf16 for the resolved device.

    Raises:
        InputError: the processor has no instructions for bf16, so fp32 would be measured.
    """
    if amp != "none" and not has_half_precision(cfg.MODEL.DEVICE, amp):
        raise InputError(f"--amp is {amp}, but this processor has no instructions for it; use none")
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE = amp != "none", "bf16"


def build_models(cfg: CfgNode) -> dict[str, nn.Module]:
    """The models that are compared, on the configured device. The naive one shares the weights of ours.

    fast-reid's vision transformer is included if the architecture is the same, ViT-B/16.
    """
    torch.manual_seed(0)
    ours = build_model(cfg)
    models = {"ours": ours, "timm, SA alone": PlainTimm(cfg).to(cfg.MODEL.DEVICE), "naive DCAL": NaiveDCAL(ours)}
    if cfg.MODEL.BACKBONE.TIMM_MODEL.startswith("vit_base_patch16") and not cfg.MODEL.BACKBONE.TIMM_KWARGS:
        models["fast-reid, SA alone"] = _FastReidViT(cfg)
    else:
        print("\nfast-reid's vision transformer is left out: it is always 768 wide.")
    return models


def synthetic_images(case: Case, batch: int | None, device: str) -> Tensor:
    """Random images (B, 3, H, W) uint8 on the device; as many as the case has in a batch if ``batch`` is None.

    Raises:
        InputError: fewer than one image.
    """
    size = (case.cpu_batch if device == "cpu" else case.batch) if batch is None else batch
    if size < 1:
        raise InputError(f"a batch of {size} images cannot be made; give --batch 1 or more")
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (size, 3, *case.size), dtype=torch.uint8, generator=generator).to(device)


def synthetic_batch(case: Case, batch: int | None, device: str) -> dict[str, Tensor]:
    """``synthetic_images`` with their labels, two images of each identity.

    Raises:
        InputError: fewer than 4 images (two of each of two identities), or more identities than the case has.
    """
    images = synthetic_images(case, batch, device)
    if not 4 <= len(images) <= 2 * case.classes:
        raise InputError(
            f"{len(images)} images do not make a training batch of {case.name}; give --batch 4 to {2 * case.classes}"
        )
    return {"images": images, "targets": (torch.arange(len(images)) // 2).to(device)}
