"""Every config of DCAL takes a training step with its own branches and losses, on a small backbone of its kind.

The step of fast-reid's own baseline is in tests/modeling/test_fastreid_vit.py.
"""

from pathlib import Path

import pytest
import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model

from dcal_reid.engine import load_config
from dcal_reid.task import is_classification

CONFIGS = Path(__file__).parents[1] / "configs"
RUNNABLE = sorted(path for path in CONFIGS.rglob("*.yml") if path.parent != CONFIGS)
# By the beginning of timm's name: arguments that make the model narrow, and (height, width). No block is left out.
SMALL = {
    "vit_": ({"embed_dim": 24, "num_heads": 3}, (48, 32)),
    "deit_": ({"embed_dim": 24, "num_heads": 3}, (48, 32)),
    "cait_": ({"embed_dim": 24, "num_heads": 3}, (48, 32)),
    "swin_": ({"embed_dim": 6, "num_heads": (1, 2, 3, 6)}, (56, 56)),
    "crossvit_": ({"embed_dim": (12, 24), "num_heads": (3, 3)}, (240, 240)),
}


def small_model(path):
    """The model's part of a config, made small."""
    cfg = load_config(str(path))
    name = cfg.MODEL.BACKBONE.TIMM_MODEL
    kwargs, size = next(small for beginning, small in SMALL.items() if name.startswith(beginning))
    cfg.MODEL.BACKBONE.TIMM_KWARGS = CfgNode(kwargs, new_allowed=True)
    cfg.MODEL.BACKBONE.PRETRAIN = cfg.INPUT.CROP.ENABLED = False
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = list(size)
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = "cpu", 4
    return cfg


def distinct(paths):
    """One path for each system: the four data sets of table 2, for example, have the same systems."""
    models = {path: small_model(path).MODEL for path in reversed(paths)}
    systems = {str(model): path for path, model in models.items() if model.META_ARCHITECTURE == "DCAL"}
    return list(reversed(systems.values()))


@pytest.mark.parametrize("path", distinct(RUNNABLE), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_training_step(path):
    cfg = small_model(path)
    torch.manual_seed(0)
    model = build_model(cfg)
    images = torch.randint(0, 256, (8, 3, *cfg.INPUT.SIZE_TRAIN), dtype=torch.uint8)
    batch = {"images": images, "targets": torch.arange(4).repeat_interleave(2)}
    if cfg.MODEL.DCAL.PWCA.DISTRACTORS == "external":
        batch["distractors"] = images.flip(0)
    losses = model(batch)
    branches = {"sa": True, "glca": cfg.MODEL.DCAL.GLCA.NUM_BLOCKS, "pwca": cfg.MODEL.DCAL.PWCA.NUM_BLOCKS}
    assert set(losses) == {f"loss_{branch}" for branch, wanted in branches.items() if wanted}

    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    sum(losses.values()).backward()
    torch.optim.SGD(parameters.values(), lr=0.1).step()
    assert all(p.isfinite().all() for p in parameters.values())
    assert [name for name, p in parameters.items() if p.grad is None] == []
    # A block's drop path may have dropped all images; the read-outs are always reached.
    assert not torch.equal(before["heads.sa.weight"], parameters["heads.sa.weight"])

    outputs = model.eval()(images)
    size = 4 if is_classification(cfg) else model.backbone.embed_dim * (2 if "+" in model.inference else 1)
    assert outputs.shape == (8, size) and outputs.isfinite().all()
