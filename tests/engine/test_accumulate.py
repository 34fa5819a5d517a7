import pytest
import torch

from dcal_reid.engine import Trainer
from dcal_reid.engine.accumulate import parts_of
from dcal_reid.errors import InputError


@pytest.mark.parametrize("number", [1, 2, 4])
def test_parts_are_the_batch_in_order(number):
    batch = {"images": torch.arange(8), "targets": torch.arange(8) // 2, "distractors": torch.arange(8, 16)}
    parts = parts_of({**batch, "img_paths": list("abcdefgh")}, number)
    assert [len(part["images"]) for part in parts] == [8 // number] * number
    for key, values in batch.items():
        assert torch.equal(torch.cat([part[key] for part in parts]), values)


def test_parts_keep_the_images_of_an_identity_together(run_cfg):
    run_cfg.SOLVER.ACCUMULATE = 8
    with pytest.raises(InputError, match=r"8 is not a multiple of 1 processes x SOLVER\.ACCUMULATE 8 x 2 images"):
        Trainer(run_cfg)


def test_a_part_with_one_identity_is_refused_where_triplets_are_compared(run_cfg):
    run_cfg.SOLVER.ACCUMULATE = 4
    with pytest.raises(InputError, match="leaves each part only one identity"):
        Trainer(run_cfg)
    run_cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)
    Trainer(run_cfg)
