from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dcal_reid.errors import InputError
from dcal_reid.modeling.backbones.base import attention_replaced, both_streams, check_patches_divide


class WithAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.attn(x)


def test_attention_is_replaced_in_one_block_and_for_a_while():
    block, other, x = WithAttention(), WithAttention(), torch.randn(2, 3)
    before, others = block(x), other(x)
    with attention_replaced(block.attn, lambda x: 2 * x):
        assert torch.equal(block(x), 3 * x) and torch.equal(other(x), others)
        with attention_replaced(block.attn, torch.zeros_like):
            assert torch.equal(block(x), x)
        assert torch.equal(block(x), 3 * x)
    assert torch.equal(block(x), before)


def test_attention_is_put_back_after_an_error():
    block, x = WithAttention(), torch.randn(2, 3)
    before = block(x)
    with pytest.raises(KeyboardInterrupt), attention_replaced(block.attn, torch.zeros_like):
        raise KeyboardInterrupt
    assert torch.equal(block(x), before)


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 2, 3, 4)])
def test_the_pair_wise_stream_starts_from_the_images_that_have_a_distractor(shape):
    """The images after these are only distractors."""
    x, partner = torch.randn(shape), torch.tensor([4, 5, 3])
    assert torch.equal(both_streams(x, partner, starts=True), x[[0, 1, 2, 3, 4, 5, 0, 1, 2]])
    assert torch.equal(both_streams(x, partner, starts=False), x)


@pytest.mark.parametrize(("size", "is_whole"), [((64, 24), True), ((48, 64), False), ((64, 20), False)])
def test_images_are_of_whole_patches_in_both_directions(size, is_whole):
    vit = SimpleNamespace(patch_embed=SimpleNamespace(patch_size=(32, 8)))
    if is_whole:
        check_patches_divide("wide", vit, size)
        return
    with pytest.raises(InputError, match=rf"{size[0]}x{size[1]} is not a multiple of the patch size 32x8 of 'wide'"):
        check_patches_divide("wide", vit, size)
