"""Gradient accumulation: a batch is processed in SOLVER.ACCUMULATE parts, one after the other, per optimiser step."""

from fastreid.config import CfgNode

from ..data.samplers import GlobalBatchSampler
from ..errors import InputError

__all__ = ["check_parts", "parts_of"]


def check_parts(cfg: CfgNode, sampler: GlobalBatchSampler, processes: int) -> None:
    """
    Raises:
        InputError: SOLVER.ACCUMULATE does not divide the batch, separates the images of an identity, or leaves a part
            with a single identity, for which a triplet loss is 0.
    """
    parts = cfg.SOLVER.ACCUMULATE
    if sampler.batch_size % (processes * parts * sampler.inseparable):
        raise InputError(
            f"SOLVER.IMS_PER_BATCH {sampler.batch_size} is not a multiple of {processes} processes x "
            f"SOLVER.ACCUMULATE {parts} x {sampler.inseparable} images of one identity; choose another"
        )
    one_identity = sampler.batch_size == processes * parts * sampler.inseparable
    if one_identity and "TripletLoss" in cfg.MODEL.LOSSES.NAME:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH {sampler.batch_size} in {processes} processes x SOLVER.ACCUMULATE {parts} "
            "leaves each part only one identity, but TripletLoss compares two; use a larger batch or fewer parts"
        )


def parts_of(batch: dict, number: int) -> list[dict]:
    """Split the images, targets and distractors of a batch into ``number`` equal parts; 1 leaves the batch whole."""
    if number == 1:
        return [batch]
    keys = [key for key in ("images", "targets", "distractors") if key in batch]
    return [
        dict(zip(keys, values, strict=True)) for values in zip(*(batch[key].chunk(number) for key in keys), strict=True)
    ]
