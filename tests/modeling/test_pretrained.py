import logging
import re

import pytest
import timm
import torch
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.backbones.vision_transformer import VisionTransformer as FastReIDViT
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from dcal_reid import load_model
from dcal_reid.engine.weights import save_weights
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
    torch.save({"model": {f"backbone.{k}": v for k, v in timm.create_model("resnet18").state_dict().items()}}, path)
    names = (
        r"names are 'backbone\.conv1\.weight', .*, in the model 'cls_token', .* choose .* or .* give them timm's names"
    )
    with pytest.raises(InputError, match=rf"match 0% of the model's values: the {names}"):
        load_pretrained(vit(), path)
    torch.save(vit(embed_dim=96).state_dict(), path)
    with pytest.raises(InputError, match=r"match 0% .*: cls_token is \[1, 1, 96\], in the model \[1, 1, 48\]; choose"):
        load_pretrained(vit(), path)


def test_refuses_blocks_on_another_kind_of_patches(tmp_path):
    """TransReID-SSL (ICS) embeds patches after four convolutions."""
    state = vit().state_dict()
    stem = {"patch_embed.proj.weight": torch.zeros(48, 64, 8, 8), "patch_embed.conv.0.weight": torch.zeros(64, 3, 7, 7)}
    torch.save(state | stem, tmp_path / "weights.pth")
    with pytest.raises(
        InputError, match=r"patch_embed.proj.weight is \[48, 64, 8, 8\], in the model \[48, 3, 16, 16\]"
    ):
        load_pretrained(vit(), tmp_path / "weights.pth")


def test_refuses_more_stages_than_the_model_has(tmp_path):
    """timm looks for the place of each of Swin's tables."""
    deep, flat = (timm.create_model("swin_tiny_patch4_window7_224", depths=depths) for depths in ((1, 1, 2), (1, 1, 1)))
    torch.save(deep.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="are of another network"):
        load_pretrained(flat, tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("layers.0.blocks.0.attn.relative_position_bias_table", "(AssertionError)"),
        ("patch_embed.proj.weight", "(tuple index out of range)"),
    ],
)
def test_whatever_timm_meets_in_weights_of_other_shapes_is_told(tmp_path, name, words):
    swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1), num_classes=0)
    torch.save(swin.state_dict() | {name: torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="are of another network " + re.escape(words)):
        load_pretrained(swin, tmp_path / "weights.pth")


def test_position_embeddings_of_no_patch_are_refused(tmp_path):
    state = vit().state_dict()
    torch.save(state | {"pos_embed": state["pos_embed"][:, :1]}, tmp_path / "weights.pth")
    with pytest.raises(
        InputError, match=r"1 position embeddings.* uses 1 for tokens other.* and 0 do not form a square"
    ):
        load_pretrained(vit(), tmp_path / "weights.pth")


def test_names_that_are_numbers_are_names_too(tmp_path):
    torch.save(vit().state_dict() | {3: torch.zeros(1)}, tmp_path / "weights.pth")
    load_pretrained(vit(), tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [{"net": {"cls_token": torch.zeros(1)}, "epoch": 3}, {}])
def test_a_file_without_tensors_where_they_are_looked_for(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    found = "'net', 'epoch'" if content else "nothing"
    with pytest.raises(InputError, match=f"hold no tensors where .* but {found}; save the state_dict"):
        load_pretrained(vit(), tmp_path / "weights.pth")


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def transreid(state, other, prefix=""):
    """Weights as TransReID saves them with SIE and JPM, for which it trains b1 in place of the last block and the
    norm."""
    last = {key: f"0.{key[9:]}" if key.startswith("blocks.1.") else f"1.{key[5:]}" for key in state}
    last = {key: name for key, name in last.items() if key.startswith(("blocks.1.", "norm."))}
    file = prefixed(state | {key: other[key] for key in last} | {"sie_embed": torch.zeros(6, 1, 48)}, "base.")
    for key, name in last.items():
        file |= {f"b1.{name}": state[key], f"b2.{name}": other[key]}
    return prefixed(file | {"classifier.weight": torch.zeros(7, 48), "bottleneck.weight": torch.ones(48)}, prefix)


LAYOUTS = {
    "TransReID": (transreid, "base.* is the backbone. Left out: b2, bottleneck, classifier."),
    "TransReID, DDP": (
        lambda state, other: transreid(state, other, "module."),
        "base.* is the backbone. Left out: b2, bottleneck",
    ),
    "TransReID without JPM": (
        lambda state, other: prefixed(state, "base.") | {"classifier.weight": torch.zeros(7, 48)},
        "base.* is the backbone. Left out: classifier.",
    ),
    "DINO": (
        lambda state, other: {
            "student": prefixed(other, "module.backbone."),
            "teacher": prefixed(state, "backbone.") | {"head.mlp.0.weight": torch.zeros(64, 48)},
            "epoch": 3,
        },
        "teacher/backbone.* is the backbone. Left out: head.",
    ),
    "dcal_reid": (
        lambda state, other: {
            "model": prefixed(other, "backbone.vit."),
            "ema": prefixed(state, "backbone.vit.") | {"glca.norm.weight": torch.zeros(48)},
            "grid_size": [4, 2],
        },
        "ema/backbone.vit.* is the backbone. Left out: glca.",
    ),
    "DeiT": (lambda state, other: {"model": other, "model_ema": state}, "model_ema/* is the backbone. Left out: none."),
    "timm": (lambda state, other: {"state_dict": other, "state_dict_ema": state}, "state_dict_ema/* is"),
    "Lightning": (lambda state, other: {"state_dict": prefixed(state, "backbone.")}, "state_dict/backbone.* is"),
}


@pytest.mark.parametrize(("layout", "told"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_backbone_of_other_codes_networks(tmp_path, caplog, layout, told):
    source, other, target = vit().eval(), vit(), vit().eval()
    torch.save(layout(source.state_dict(), other.state_dict()), tmp_path / "weights.pth")
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        load_pretrained(target, tmp_path / "weights.pth")
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(target.forward_features(images), source.forward_features(images))
    assert told in caplog.text and "100.0% of the model's values" in caplog.text


def test_the_backbone_of_fastreids_network(tmp_path):
    options = {"img_size": (64, 32), "embed_dim": 48, "depth": 2, "num_heads": 3, "qkv_bias": True, "camera": 6}
    source, target = FastReIDViT(**options).eval(), vit().eval()
    file = prefixed(source.state_dict(), "backbone.") | {"heads.weight": torch.zeros(7, 48)}
    torch.save({"model": file, "optimizer": {"state": {}, "param_groups": []}, "epoch": 3}, tmp_path / "weights.pth")
    load_pretrained(target, tmp_path / "weights.pth")
    images = torch.randn(2, 3, 64, 32)
    source.cam_num = 0  # no other network has camera embeddings
    torch.testing.assert_close(target.forward_features(images)[:, 0], source(images).flatten(1))


def test_the_backbone_of_a_run(run_folder, tiny_cfg):
    model = load_model(run_folder / "model_final.pth", device="cpu")
    save_weights(run_folder / "exported.safetensors", tiny_cfg, model)
    for name in ("model_final.pth", "exported.safetensors"):
        target = vit(depth=3)
        load_pretrained(target, run_folder / name)
        assert all(torch.equal(v, model.backbone.vit.state_dict()[k]) for k, v in target.state_dict().items())


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
    """For some of these, the number of patches is a square or the model's, and timm takes them for those."""
    source, path = vit(size), tmp_path / "weights.pth"
    torch.save(source.state_dict() | {"pos_embed": places(size[0] // 16, size[1] // 16)}, path)
    model = vit(target)
    load_pretrained(model, path, size)
    rows, columns = target[0] // 16, target[1] // 16
    found = model.pos_embed.detach()[0, 1:].unflatten(0, (rows, columns))
    for value, number in ((found[..., 0], rows), (found[..., 1].T, columns)):
        torch.testing.assert_close(value, value[:, :1].expand_as(value), rtol=0, atol=1e-5)  # of the place alone
        assert (value[:, 0].diff() > 0).all() and len(value) == number


@pytest.mark.parametrize(("stride", "rows", "columns"), [(12, 21, 10), (11, 22, 11), (8, 31, 15)])
def test_position_embeddings_of_patches_that_overlap(tmp_path, caplog, stride, rows, columns):
    """As in TransReID, for images of 256 x 128."""
    path, model, fits = tmp_path / "weights.pth", vit((256, 128)), FastReIDViT((256, 128), 16, stride, embed_dim=48)
    given = places(rows, columns)
    assert fits.pos_embed.shape == given.shape
    torch.save(prefixed(model.state_dict() | {"pos_embed": given}, "base."), path)
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        load_pretrained(model, path, (256, 128))
    expected = resample_abs_pos_embed(given, [16, 8], [rows, columns])
    assert torch.equal(model.pos_embed, expected)
    assert f"Position embeddings of {rows} x {columns} patches become those of 16 x 8" in caplog.text
    with pytest.raises(InputError, match=r"do not form a square; .* give their size as MODEL\.BACKBONE\.PRETRAIN_SIZE"):
        load_pretrained(model, path)
    with pytest.raises(InputError, match=r"PRETRAIN_SIZE is \[8, 8\], which makes .* give the size"):
        load_pretrained(model, path, (8, 8))


def test_position_embeddings_of_a_rectangle_need_its_size(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(vit((96, 64)).state_dict(), path)
    load_pretrained(vit((96, 64)), path)  # the model's own
    with pytest.raises(InputError, match=r"25 position embeddings.* 24 do not form a square.*PRETRAIN_SIZE"):
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
