"""MODEL.COMPILE for the backbones whose attention is temporarily replaced."""

import copy

import pytest
import torch

KINDS = {
    "cait": ("cait_xxs24_224", {"depth": 2, "embed_dim": 24, "num_heads": 3}, (48, 32), {"PWCA__NUM_BLOCKS": 4}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4},
        (64, 32),
        {"GLCA__NUM_BLOCKS": 0, "PWCA__NUM_BLOCKS": 2},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_traced_in_one_graph_it_gives_the_same(kind, small, images_of):
    name, kwargs, size, options = KINDS[kind]
    model = small(name, kwargs, size, **options)
    images, partner = model.preprocess_image(images_of(*size)), (torch.arange(8) + 1) % 8
    expected = model.branch_features(images, partner)
    copied = copy.deepcopy(model)  # as averaged weights are
    torch.compiler.reset()
    model.compile(backend="aot_eager", fullgraph=True)
    for one in (model, copied):
        torch.testing.assert_close(one.branch_features(images, partner), expected)
