import logging

import pytest
import timm
import torch
from fastreid.modeling.backbones import build_backbone
from safetensors.torch import save_file

from dcal_reid.errors import InputError
from dcal_reid.modeling.pretrained import load_pretrained


def vit(img_size=(64, 32), **kwargs):
    options = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 0, **kwargs}
    return timm.create_model("vit_tiny_patch16_224", img_size=img_size, **options)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_loads_what_was_saved(tmp_path, suffix, wrapped):
    source, path = vit(), tmp_path / f"weights{suffix}"
    state = {f"module.{k}" if wrapped else k: v for k, v in source.state_dict().items()}
    if suffix == ".pth":
        torch.save({"model": state, "epoch": 3} if wrapped else state, path)
    else:
        save_file(state, path)
    target = vit()
    load_pretrained(target, path)
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in target.state_dict().items())


def test_resizes_position_embeddings_to_a_rectangle_and_says_so(tmp_path, caplog):
    source, path = vit((96, 96), num_classes=10), tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    target = vit((64, 32))
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        load_pretrained(target, path)
    assert target.pos_embed.shape == (1, 1 + 4 * 2, 48)
    assert torch.equal(target.pos_embed[:, 0], source.pos_embed[:, 0])
    assert "Resized: pos_embed." in caplog.text
    assert "head.weight [10, 48]" in caplog.text and "Not in the file: none" in caplog.text


def test_names_what_is_missing(tmp_path, caplog):
    source, path = vit(), tmp_path / "weights.pth"
    torch.save({k: v for k, v in source.state_dict().items() if not k.startswith("norm.")}, path)
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        load_pretrained(vit(), path)
    assert "Not in the file: norm.weight, norm.bias" in caplog.text


def test_refuses_another_architecture(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("resnet18").state_dict(), path)
    with pytest.raises(InputError, match=r"match 0% .* 'conv1.weight'"):
        load_pretrained(vit(), path)
    torch.save(vit(embed_dim=96).state_dict(), path)
    with pytest.raises(InputError, match="match 0%"):
        load_pretrained(vit(), path)


def test_real_weights_load_whole(tiny_cfg, vit_tiny_weights, caplog):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.clear()
    tiny_cfg.MODEL.BACKBONE.PRETRAIN = True
    tiny_cfg.MODEL.BACKBONE.PRETRAIN_PATH = str(vit_tiny_weights)
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        build_backbone(tiny_cfg)
    assert "100.0% of the model's values" in caplog.text
    assert "Resized: pos_embed. Skipped: head.bias [1000], head.weight [1000, 192]" in caplog.text


def places(height, width, dim=48):
    """Position embeddings that say where they are: row and column, from 0 to 1, in the first two values."""
    grid = torch.zeros(height, width, dim)
    grid[..., 0] = torch.linspace(0, 1, height)[:, None]
    grid[..., 1] = torch.linspace(0, 1, width)
    return torch.cat([torch.zeros(1, 1, dim), grid.flatten(0, 1)[None]], dim=1)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (128, 32), (32, 128), (144, 64)])
@pytest.mark.parametrize("target", [(64, 96), (96, 64)])
def test_position_embeddings_of_rectangles_keep_their_places(tmp_path, size, target):
    """Of some of these the number of patches is a square, or the model's, which timm takes them for."""
    source, path = vit(size), tmp_path / "weights.pth"
    torch.save(source.state_dict() | {"pos_embed": places(size[0] // 16, size[1] // 16)}, path)
    model = vit(target)
    load_pretrained(model, path, size)
    rows, columns = target[0] // 16, target[1] // 16
    found = model.pos_embed.detach()[0, 1:].unflatten(0, (rows, columns))
    for value, number in ((found[..., 0], rows), (found[..., 1].T, columns)):
        torch.testing.assert_close(value, value[:, :1].expand_as(value), rtol=0, atol=1e-5)  # of the place alone
        assert (value[:, 0].diff() > 0).all() and len(value) == number


def test_position_embeddings_of_a_rectangle_need_its_size(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(vit((96, 64)).state_dict(), path)
    load_pretrained(vit((96, 64)), path)  # the model's own
    with pytest.raises(InputError, match=r"25 position embeddings.* 24 are no square.*PRETRAIN_SIZE"):
        load_pretrained(vit((64, 64)), path)
    with pytest.raises(InputError, match=r"PRETRAIN_SIZE is \[64, 64\], which makes 4 x 4 patches.* of 24"):
        load_pretrained(vit((64, 64)), path, (64, 64))


@pytest.mark.parametrize(("source", "target"), [(3, 0), (0, 3)])
def test_weights_with_other_tokens_before_the_patches_are_of_another_model(tmp_path, source, target):
    path = tmp_path / "weights.pth"
    torch.save(vit((64, 64), reg_tokens=source).state_dict(), path)
    with pytest.raises(InputError, match=r"choose the MODEL\.BACKBONE\.TIMM_MODEL that they"):
        load_pretrained(vit((96, 96), reg_tokens=target), path)


def test_what_is_left_random_or_left_out_of_the_blocks_is_warned_of(tmp_path, caplog):
    path = tmp_path / "weights.pth"
    torch.save(vit(depth=3, num_classes=10).state_dict(), path)
    for depth, level in ((3, logging.INFO), (2, logging.WARNING), (4, logging.WARNING)):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="dcal_reid"):
            load_pretrained(vit(depth=depth), path)
        assert [record.levelno for record in caplog.records] == [level]
