import math
from itertools import pairwise

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from timm.optim import param_groups_weight_decay

from dcal_reid.config import CfgNode
from dcal_reid.engine.solver import base_learning_rate, build_optimizer, learning_rate_factor
from dcal_reid.errors import InputError


@pytest.mark.parametrize("opt", ["SGD", "Adam", "AdamW"])
def test_every_trainable_parameter_is_in_the_optimiser_once(tiny_cfg, tiny_model, opt):
    tiny_cfg.SOLVER.OPT = opt
    optimizer = build_optimizer(tiny_cfg, tiny_model)
    assert type(optimizer) is getattr(torch.optim, opt)
    inside = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(inside) == len({id(p) for p in inside})
    assert {id(p) for p in inside} == {id(p) for p in tiny_model.parameters() if p.requires_grad}
    assert any(p is tiny_model.loss_weights.w for p in inside)


def test_the_learning_rate_is_scaled_to_the_batch_if_asked(tiny_cfg, tiny_model):
    solver = tiny_cfg.SOLVER
    solver.BASE_LR, solver.IMS_PER_BATCH = 0.0005, 16
    assert base_learning_rate(tiny_cfg) == 0.0005
    solver.LR_FOR_BATCH = 512
    assert base_learning_rate(tiny_cfg) == pytest.approx(5e-4 / 512 * 16)
    lrs = {group["lr"] for group in build_optimizer(tiny_cfg, tiny_model).param_groups}
    assert max(lrs) == pytest.approx(5e-4 / 512 * 16 * solver.BIAS_LR_FACTOR)


def test_a_first_step_that_overflows_leaves_nothing_behind(tiny_cfg):
    """PyTorch's fused SGD allocates the momenta in the first step, and fills them only if the step is finite."""
    tiny_cfg.SOLVER.OPT, tiny_cfg.SOLVER.MOMENTUM, tiny_cfg.SOLVER.BASE_LR = "SGD", 0.9, 0.1
    models = [torch.nn.Linear(64, 64) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ours = build_optimizer(tiny_cfg, models[0])
    options = [
        {key: group[key] for key in ("lr", "weight_decay", "momentum", "nesterov")} for group in ours.param_groups
    ]
    order = {id(p): number for number, p in enumerate(models[0].parameters())}
    others = list(models[1].parameters())
    reference = torch.optim.SGD(
        [
            {"params": [others[order[id(p)]] for p in group["params"]], **option}
            for group, option in zip(ours.param_groups, options, strict=True)
        ],
        lr=0.1,
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    torch.full((1 << 16,), float("nan"))  # what memory may hold
    for factor in (float("inf"), 1.0, 1.0):
        for parameter in models[0].parameters():
            parameter.grad = scaler.scale(torch.full_like(parameter, factor))
        scaler.step(ours)
        scaler.update()
    for _ in range(2):
        for parameter in others:
            parameter.grad = torch.ones_like(parameter)
        reference.step()
    for actual, expected in zip(models[0].parameters(), others, strict=True):
        torch.testing.assert_close(actual, expected)


def test_decay_and_learning_rates(tiny_cfg, tiny_model):
    solver = tiny_cfg.SOLVER
    solver.OPT, solver.BASE_LR, solver.WEIGHT_DECAY = "SGD", 0.1, 0.01
    solver.BIAS_LR_FACTOR, solver.WEIGHT_DECAY_BIAS, solver.WEIGHT_DECAY_NORM = 2.0, 0.02, 0.03
    solver.HEADS_LR_FACTOR = 5.0
    tiny_cfg.MODEL.DCAL.LOSS_WEIGHTS_LR_FACTOR = 0.5
    groups = build_optimizer(tiny_cfg, tiny_model).param_groups
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert all(group["initial_lr"] == group["lr"] for group in groups)  # what the schedule multiplies
    expected = {
        "backbone.vit.blocks.0.attn.qkv.weight": (0.1, 0.01),
        "backbone.vit.blocks.0.attn.qkv.bias": (0.2, 0.02),
        "backbone.vit.blocks.0.norm1.weight": (0.1, 0.03),
        "backbone.vit.pos_embed": (0.1, 0.0),
        "backbone.vit.cls_token": (0.1, 0.0),
        "glca.blocks.0.mlp.fc1.weight": (0.1, 0.01),
        "heads.sa.weight": (0.5, 0.01),
        "heads.glca.weight": (0.5, 0.01),
        "loss_weights.w": (0.05, 0.0),
    }
    for name, values in expected.items():
        assert found[id(tiny_model.get_parameter(name))] == pytest.approx(values), name


@pytest.mark.parametrize(("timm_model", "kwargs"), [
    ("vit_tiny_patch16_224", {"depth": 1, "reg_tokens": 2}),  # timm 1.0.24 does not declare them yet
    ("vit_tiny_patch16_224", {"depth": 1, "init_values": 0.1}),  # layer scale
    ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "num_heads": (1, 2), "window_size": 4}),
])  # fmt: skip
def test_what_timm_does_not_decay_is_not_decayed(tiny_cfg, timm_model, kwargs):
    """If norms and biases are not decayed either, as in the recipes of timm's models."""
    solver = tiny_cfg.SOLVER
    solver.OPT, solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_BIAS = "AdamW", 0.05, 0.0, 0.0
    backbone = tiny_cfg.MODEL.BACKBONE
    backbone.TIMM_MODEL, backbone.TIMM_KWARGS = timm_model, CfgNode({"embed_dim": 12, **kwargs}, new_allowed=True)
    tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = tiny_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 0
    model = build_model(tiny_cfg)
    decay = {id(p): g["weight_decay"] for g in build_optimizer(tiny_cfg, model).param_groups for p in g["params"]}
    vit = model.backbone.vit
    not_decayed, _ = param_groups_weight_decay(vit, no_weight_decay_list=(*vit.no_weight_decay(), "reg_token"))
    expected = {id(p) for p in not_decayed["params"]}
    assert {id(p) for p in vit.parameters() if not decay[id(p)]} == expected


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.8, False), (0.9, True)])
def test_momentum_is_as_configured(tiny_cfg, tiny_model, momentum, nesterov):
    solver = tiny_cfg.SOLVER
    solver.OPT, solver.MOMENTUM, solver.NESTEROV = "SGD", momentum, nesterov
    groups = build_optimizer(tiny_cfg, tiny_model).param_groups
    assert {(group["momentum"], group["nesterov"]) for group in groups} == {(momentum, nesterov)}


def test_a_step_changes_every_parameter(tiny_cfg, tiny_model, tiny_batch):
    """fast-reid's optimiser runs, but changes nothing."""
    tiny_cfg.SOLVER.OPT, tiny_cfg.SOLVER.BASE_LR = "SGD", 0.1
    optimizer = build_optimizer(tiny_cfg, tiny_model)
    before = {name: p.detach().clone() for name, p in tiny_model.named_parameters()}
    optimizer.zero_grad()
    sum(tiny_model(tiny_batch).values()).backward()
    optimizer.step()
    same = [n for n, p in tiny_model.named_parameters() if p.requires_grad and torch.equal(p, before[n])]
    assert same == []


def test_refuses_an_optimiser_by_name(tiny_cfg, tiny_model):
    tiny_cfg.SOLVER.OPT = "LBFGS"
    with pytest.raises(InputError, match="'LBFGS'"):
        build_optimizer(tiny_cfg, tiny_model)


@pytest.fixture
def schedule(tiny_cfg):
    solver = tiny_cfg.SOLVER
    solver.BASE_LR, solver.ETA_MIN_LR, solver.SCHED, solver.MAX_EPOCH = 0.01, 1e-5, "CosineAnnealingLR", 10
    solver.WARMUP_ITERS, solver.WARMUP_FACTOR = 20, 0.1
    return lambda: [learning_rate_factor(tiny_cfg, i, 10) for i in range(100)]


def test_warm_up_and_cosine_reach_both_ends(schedule):
    """In fast-reid a warm-up that ends with an epoch never uses the base rate, and the end value needs a warm-up."""
    factors = schedule()
    assert factors[0] == 0.1 and factors[20] == 1.0 and factors[99] == pytest.approx(1e-3)
    assert factors[10] == pytest.approx(0.55)
    assert all(a < b for a, b in pairwise(factors[:21]))
    assert all(a > b for a, b in pairwise(factors[20:]))
    middle = 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * 40 / 79))
    assert factors[60] == pytest.approx(middle)


def test_without_warm_up(schedule, tiny_cfg):
    tiny_cfg.SOLVER.WARMUP_ITERS = 0
    factors = schedule()
    assert factors[0] == 1.0 and factors[99] == pytest.approx(1e-3)


def test_a_constant_warm_up_is_one_step(schedule, tiny_cfg):
    linear = schedule()
    tiny_cfg.SOLVER.WARMUP_METHOD = "constant"
    assert schedule() == [0.1] * 20 + linear[20:]


def test_a_warm_up_that_ends_in_the_last_iteration_reaches_the_base_rate(schedule, tiny_cfg):
    tiny_cfg.SOLVER.MAX_EPOCH = 3
    assert learning_rate_factor(tiny_cfg, 20, 7) == 1.0


def test_scaling_to_the_batch_scales_both_ends(schedule, tiny_cfg):
    factors = schedule()
    tiny_cfg.SOLVER.LR_FOR_BATCH = 4 * tiny_cfg.SOLVER.IMS_PER_BATCH
    assert schedule() == factors


def test_delay_holds_the_base_rate(schedule, tiny_cfg):
    tiny_cfg.SOLVER.DELAY_EPOCHS = 5
    factors = schedule()
    assert set(factors[20:51]) == {1.0} and factors[51] < 1


def test_steps_are_taken_at_their_epochs(schedule, tiny_cfg):
    tiny_cfg.SOLVER.SCHED, tiny_cfg.SOLVER.STEPS, tiny_cfg.SOLVER.GAMMA = "MultiStepLR", [4, 7], 0.5
    factors = schedule()
    assert (factors[20], factors[39], factors[40], factors[69], factors[70]) == (1, 1, 0.5, 0.5, 0.25)


def test_a_longer_run_stretches_the_cosine(schedule, tiny_cfg):
    """fast-reid keeps the old period when a run is resumed with a larger MAX_EPOCH, and the rate rises again."""
    tiny_cfg.SOLVER.MAX_EPOCH = 20
    factors = [learning_rate_factor(tiny_cfg, i, 10) for i in range(200)]
    assert factors[199] == pytest.approx(1e-3)
    assert all(a > b for a, b in pairwise(factors[20:]))
