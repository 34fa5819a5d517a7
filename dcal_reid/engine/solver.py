"""Optimiser and learning-rate schedule from fast-reid's SOLVER keys."""

import math
from bisect import bisect_right

import torch
from fastreid.config import CfgNode
from fastreid.solver.build import get_default_optimizer_params
from torch import nn

from ..errors import InputError

__all__ = ["base_learning_rate", "build_optimizer", "learning_rate_factor"]

# Parameters that timm's models exempt from weight decay, by the beginning of their names.
_NOT_DECAYED = ("pos_embed", "cls_token", "reg_token", "relative_position_bias_table")

OPTIMIZERS = ("SGD", "Adam", "AdamW")


def base_learning_rate(cfg: CfgNode) -> float:
    """SOLVER.BASE_LR, scaled linearly with the batch size if SOLVER.LR_FOR_BATCH says for which batch size it is."""
    solver = cfg.SOLVER
    return solver.BASE_LR * (solver.IMS_PER_BATCH / solver.LR_FOR_BATCH if solver.LR_FOR_BATCH else 1)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPT over every parameter that requires a gradient, each exactly once.

    fast-reid's parameter groups (bias, norm and head factors), merged where they are equal, with three differences:
    position embeddings and biases, CLS tokens and registers get no weight decay, as timm declares; vectors that are not
    biases, such as layer scale, get the weight decay of norms; and the loss weights get no weight decay and a
    learning-rate factor of their own.
    """
    solver, base_lr = cfg.SOLVER, base_learning_rate(cfg)
    per_parameter = get_default_optimizer_params(
        model,
        base_lr=base_lr,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        heads_lr_factor=solver.HEADS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for entry in per_parameter:
        (parameter,) = entry["params"]
        lr, weight_decay = entry["lr"], entry["weight_decay"]
        name = names[parameter]
        own_name = name.rpartition(".")[2]
        if own_name.startswith(_NOT_DECAYED):
            weight_decay = 0.0
        elif parameter.ndim < 2 and own_name != "bias":
            weight_decay = solver.WEIGHT_DECAY_NORM
        if name == "loss_weights.w":
            lr, weight_decay = base_lr * cfg.MODEL.DCAL.LOSS_WEIGHTS_LR_FACTOR, 0.0
        groups.setdefault((lr, weight_decay), []).append(parameter)
    # `initial_lr` is what learning_rate_factor multiplies.
    options = [
        {"params": parameters, "lr": lr, "initial_lr": lr, "weight_decay": weight_decay}
        for (lr, weight_decay), parameters in groups.items()
    ]
    if solver.OPT not in OPTIMIZERS:
        raise InputError(f"SOLVER.OPT {solver.OPT!r} is not supported; choose one of {', '.join(OPTIMIZERS)}")
    # Fused: one pass over all parameters, on the CPU and on the GPU.
    if solver.OPT == "SGD":
        optimizer = torch.optim.SGD(options, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV, fused=True)
        if solver.MOMENTUM:
            # Otherwise the first step allocates them uninitialised, even where fp16 overflows and it writes nothing.
            for parameter in names:
                if parameter.requires_grad:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    return getattr(torch.optim, solver.OPT)(options, fused=True)


def learning_rate_factor(cfg: CfgNode, iteration: int, iters_per_epoch: int) -> float:
    """The factor of the base learning rate in iteration 0, 1, ... MAX_EPOCH * iters_per_epoch - 1.

    Warm-up rises linearly from WARMUP_FACTOR (constant: stays there) to 1 in iteration WARMUP_ITERS. After it,
    CosineAnnealingLR stays at 1 until DELAY_EPOCHS, then follows a cosine that reaches ETA_MIN_LR in the last
    iteration; MultiStepLR, which has no delay, multiplies by GAMMA at each epoch of STEPS. The factor depends on the
    iteration alone: a resumed run, even with another MAX_EPOCH, has no schedule state to restore.
    """
    solver = cfg.SOLVER
    if iteration < solver.WARMUP_ITERS:
        if solver.WARMUP_METHOD == "constant":
            return solver.WARMUP_FACTOR
        return solver.WARMUP_FACTOR + (1 - solver.WARMUP_FACTOR) * iteration / solver.WARMUP_ITERS
    if solver.SCHED == "MultiStepLR":
        return solver.GAMMA ** bisect_right(solver.STEPS, iteration // iters_per_epoch)
    start = max(solver.WARMUP_ITERS, solver.DELAY_EPOCHS * iters_per_epoch)
    last = solver.MAX_EPOCH * iters_per_epoch - 1
    progress = min(max((iteration - start) / max(last - start, 1), 0.0), 1.0)
    end = solver.ETA_MIN_LR / solver.BASE_LR
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))
