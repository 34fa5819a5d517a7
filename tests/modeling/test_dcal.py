"""The invariants of the method, on the whole model."""

import copy
import math

import pytest
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, build_model

from dcal_reid.errors import InputError
from dcal_reid.modeling import DCAL
from dcal_reid.modeling.backbones import ViTBackbone


def build(cfg, **options):
    for key, value in options.items():
        cfg.merge_from_list([f"MODEL.DCAL.{key.replace('__', '.')}", value])
    torch.manual_seed(0)
    return build_model(cfg)


def test_is_registered():
    assert META_ARCH_REGISTRY.get("DCAL") is DCAL


def test_sa_equals_timms_features(tiny_cfg, tiny_batch):
    model = build(tiny_cfg, INFERENCE="sa").eval()
    images = model.preprocess_image(tiny_batch)
    expected = model.backbone.vit.forward_features(images)[:, 0]
    torch.testing.assert_close(model.branch_features(images)["sa"], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model(tiny_batch), model.heads["sa"](expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [[224, 224], [256, 128]])
def test_sa_equals_timms_features_with_real_weights(tiny_cfg, vit_tiny_weights, size):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.clear()
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    tiny_cfg.MODEL.BACKBONE.PRETRAIN, tiny_cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, str(vit_tiny_weights)
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = size
    model = build(tiny_cfg).eval()
    images = model.preprocess_image(torch.randint(0, 256, (4, 3, *size), dtype=torch.uint8))
    with torch.no_grad():
        expected = model.backbone.vit.forward_features(images)[:, 0]
        torch.testing.assert_close(model.branch_features(images)["sa"], expected, rtol=1e-5, atol=1e-5)


# A ResNet before the patches; LayerScale, without CLS in the position embeddings; a norm before the blocks; SwiGLU;
# registers.
@pytest.mark.parametrize(
    ("timm_model", "kwargs"),
    [
        ("vit_tiny_r_s16_p8_224", {}),
        ("deit3_small_patch16_224", {}),
        ("vit_base_patch16_clip_224", {}),
        ("vit_small_patch14_dinov2", {"patch_size": 16}),
        ("vit_giant_patch14_dinov2", {"patch_size": 16}),
        ("vit_small_patch14_reg4_dinov2", {"patch_size": 16}),
    ],
)
def test_vision_transformers_of_other_kinds_need_no_code(tiny_cfg, tiny_batch, timm_model, kwargs):
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = timm_model
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.update(kwargs)
    tiny_batch["images"] = tiny_batch["images"].repeat(1, 1, 1, 2)
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [64, 64]
    model = build(tiny_cfg, GLCA__RATIO=1.0, GLCA__READOUT="cls")
    losses = model(tiny_batch)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    images = model.eval().preprocess_image(tiny_batch)
    features = model.branch_features(images, torch.arange(8))
    expected = model.backbone.vit.forward_features(images)[:, 0]
    for branch in ("sa", "pwca", "glca"):
        torch.testing.assert_close(features[branch], expected, rtol=1e-5, atol=1e-5)


def test_distractor_oneself_makes_pwca_equal_sa(tiny_cfg, tiny_batch):
    for stream in ("sa", "pwca"):
        for blocks in (3, 2, 1):
            model = build(tiny_cfg, PWCA__DISTRACTOR_STREAM=stream, PWCA__NUM_BLOCKS=blocks)
            features = model.branch_features(model.preprocess_image(tiny_batch), torch.arange(8))
            torch.testing.assert_close(features["pwca"], features["sa"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("glca_input", ["parallel", "stacked"])
def test_a_distractor_changes_pwca_and_nothing_else(tiny_cfg, tiny_batch, glca_input):
    model = build(tiny_cfg, GLCA__INPUT=glca_input).eval()
    images = model.preprocess_image(tiny_batch)
    alone, paired = model.branch_features(images), model.branch_features(images, torch.arange(8).roll(1))
    assert not torch.allclose(paired["pwca"], alone["sa"], atol=1e-3)
    for branch in ("sa", "glca"):
        torch.testing.assert_close(paired[branch], alone[branch], rtol=1e-5, atol=1e-5)


def test_distractors_of_the_batch_are_chosen_by_the_pair_sampler(tiny_cfg, tiny_batch):
    partner = build(tiny_cfg, PWCA__PAIR_SAMPLER="intra").training_inputs(tiny_batch)["partner"]
    assert partner.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    partner = build(tiny_cfg, PWCA__PAIR_SAMPLER="inter").training_inputs(tiny_batch)["partner"]
    assert (tiny_batch["targets"][partner] != tiny_batch["targets"]).all()


@pytest.mark.parametrize("streams", ["sa", "sa+pwca"])
def test_the_necks_statistics_are_those_of_the_streams_named(tiny_cfg, streams):
    model = build(tiny_cfg, PWCA__NECK_STATISTICS=streams).train()
    size = model.backbone.embed_dim
    features = {branch: torch.randn(8, size) + number for number, branch in enumerate(("sa", "pwca", "glca"))}
    model.losses(features, torch.arange(8) // 2)
    expected = torch.zeros(size)
    for stream in streams.split("+"):
        expected = 0.9 * expected + 0.1 * features[stream].mean(dim=0)
    torch.testing.assert_close(model.heads["sa"].bottleneck[0].running_mean, expected)


@pytest.mark.parametrize("num_blocks", [1, 2])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
def test_glca_starts_equal_to_sa(tiny_cfg, tiny_batch, ratio, num_blocks):
    """Each GLCA block reads the same tokens as the block beside it."""
    model = build(tiny_cfg, GLCA__READOUT="cls", GLCA__RATIO=ratio, GLCA__NUM_BLOCKS=num_blocks).eval()
    features = model.branch_features(model.preprocess_image(tiny_batch))
    torch.testing.assert_close(features["glca"], features["sa"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_blocks", [1, 2])
@pytest.mark.parametrize("glca_input", ["parallel", "stacked"])
def test_with_the_cls_readout_rollout_is_not_computed(tiny_cfg, tiny_batch, monkeypatch, glca_input, num_blocks):
    def forbidden(*args):
        raise AssertionError("rollout was computed")

    monkeypatch.setattr(ViTBackbone, "cls_rollout", forbidden)
    model = build(tiny_cfg, GLCA__READOUT="cls", GLCA__INPUT=glca_input, GLCA__NUM_BLOCKS=num_blocks)
    model(tiny_batch)
    assert model.eval()(tiny_batch).shape == (8, 96)
    model.glca.readout = "mean"
    with pytest.raises(AssertionError, match="rollout"):
        model(tiny_batch)


@pytest.mark.parametrize("glca_input", ["parallel", "stacked"])
@pytest.mark.parametrize("num_blocks", [1, 2])
def test_selection_is_the_rollout_of_the_block_beside(tiny_cfg, tiny_batch, glca_input, num_blocks):
    """Against the full product of eq. 2 with the attention of timm's unfused path."""
    tiny_cfg.MODEL.DCAL.GLCA.RATIO = 0.5
    model = build(tiny_cfg, GLCA__INPUT=glca_input, GLCA__NUM_BLOCKS=num_blocks).eval()
    x = model.backbone.embed(model.preprocess_image(tiny_batch))
    product = torch.eye(9).expand(8, 9, 9)
    depth = 3 if glca_input == "stacked" else 3 - num_blocks + 1
    for number, block in enumerate(model.backbone.blocks):
        q, k, _ = block.attn.qkv(block.norm1(x)).unflatten(2, (3, 3, 16)).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(2, 3) / 4, dim=-1).mean(dim=1)
        if number < depth:
            product = (0.5 * attention + 0.5 * torch.eye(9)) @ product
        x = block(x)
    expected = product[:, 0, 1:].topk(4).indices
    assert torch.equal(model.attention_maps(tiny_batch).selected, expected)

    seen = {}
    model.glca.register_forward_pre_hook(lambda module, args: seen.update(rollout=args[1]))
    model(tiny_batch)
    torch.testing.assert_close(seen["rollout"], product[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("selection", "glca_input", "num_blocks", "number"),
    [
        ("last", "parallel", 1, 2),
        ("last", "parallel", 2, 1),
        ("last", "stacked", 2, 2),
        ("penultimate", "parallel", 1, 1),
        ("penultimate", "parallel", 2, 0),
        ("penultimate", "stacked", 2, 1),
    ],
)
def test_selection_by_one_block_alone(tiny_cfg, tiny_batch, selection, glca_input, num_blocks, number):
    """The block that rollout ends with, which is beside the first GLCA block, or the one before it."""
    options = {"GLCA__SELECTION": selection, "GLCA__INPUT": glca_input, "GLCA__NUM_BLOCKS": num_blocks}
    model = build(tiny_cfg, GLCA__RATIO=0.5, **options).eval()
    x = model.backbone.embed(model.preprocess_image(tiny_batch))
    for block in model.backbone.blocks[:number]:
        x = block(x)
    block = model.backbone.blocks[number]
    q, k, _ = block.attn.qkv(block.norm1(x)).unflatten(2, (3, 3, 16)).permute(2, 0, 3, 1, 4)
    attention = (q[:, :, :1] @ k.transpose(2, 3) / 4).softmax(dim=3).mean(dim=1)[:, 0, 1:]
    assert torch.equal(model.attention_maps(tiny_batch).selected, attention.topk(4).indices)
    seen = []
    model.glca.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    model(tiny_batch)
    assert torch.equal(seen[0][:, 1:].topk(4).indices, attention.topk(4).indices)


def test_selection_by_chance_is_new_in_each_step_and_fixed_outside_training(tiny_cfg, tiny_batch):
    model = build(tiny_cfg, GLCA__SELECTION="random")
    seen = []
    model.glca.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    for _ in range(2):
        model(tiny_batch)
    model.eval()
    for _ in range(2):
        model(tiny_batch)
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert seen[0].shape == seen[2].shape == (8, 9)
    # So a feature depends neither on the batch nor on its place in the batch.
    assert torch.equal(seen[2][:1].expand(8, -1), seen[2]) and not torch.equal(seen[0][:1].expand(8, -1), seen[0])


def test_chance_selects_among_the_patches_that_dropout_has_left(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.patch_drop_rate = 0.5
    model = build(tiny_cfg, GLCA__SELECTION="random", GLCA__RATIO=1.0)
    seen = []
    model.glca.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    sum(model(tiny_batch).values()).backward()
    assert seen[0].shape == (8, 1 + 4)


def test_registers_are_never_local_queries(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.reg_tokens = 3
    model = build(tiny_cfg, GLCA__RATIO=1.0).eval()
    x = model.backbone.embed(model.preprocess_image(tiny_batch))
    assert x.shape == (8, 1 + 3 + 8, 48)
    rollout = torch.rand(8, 12)
    # CLS and the eight patches, in any order.
    tokens = model.glca.local_queries(x, rollout)
    torch.testing.assert_close(tokens.sum(dim=1), x[:, 0] + x[:, 4:].sum(dim=1))
    maps = model.attention_maps(tiny_batch)
    assert maps.sa.shape == maps.glca.shape == (8, 4, 2)
    assert maps.selected.sort(dim=1).values.tolist() == [list(range(8))] * 8


def test_every_parameter_gets_a_gradient(tiny_cfg, tiny_batch):
    for readout in ("cls", "mean", "cls+local"):
        for options in (
            {},
            {"GLCA__NUM_BLOCKS": 0},
            {"PWCA__NUM_BLOCKS": 0},
            {"GLCA__NUM_BLOCKS": 2, "PWCA__NUM_BLOCKS": 1},
            {"GLCA__INPUT": "stacked"},
        ):
            model = build(copy.deepcopy(tiny_cfg), GLCA__READOUT=readout, **options)
            sum(model(tiny_batch).values()).backward()
            without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert without == []


def test_inference_has_no_pwca_and_each_choice_of_branches(tiny_cfg, tiny_batch, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("PWCA was computed")

    model = build(tiny_cfg)
    monkeypatch.setattr(ViTBackbone, "pair_block", forbidden)
    with pytest.raises(AssertionError, match="PWCA"):
        model(tiny_batch)
    model.eval()
    both = model(tiny_batch)
    model.inference = "sa"
    with monkeypatch.context() as without_glca:
        without_glca.setattr(model.glca, "forward", forbidden)
        sa = model(tiny_batch)
    model.inference = "glca"
    torch.testing.assert_close(both, torch.cat([sa, model(tiny_batch)], dim=1))
    assert sa.shape == (8, 48)


def test_parameters_are_backbone_one_block_one_norm_and_heads(tiny_cfg):
    def count(module):
        return sum(p.numel() for p in module.parameters())

    model = build(tiny_cfg)
    block, norm = model.backbone.blocks[-1], model.backbone.norm
    expected = count(model.backbone) + count(block) + count(norm) + 2 * count(model.heads["sa"])
    assert count(model) - count(model.loss_weights) == expected
    assert count(model.loss_weights) == 3
    baseline = build(tiny_cfg, GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=0)
    assert count(baseline) == count(baseline.backbone) + count(baseline.heads["sa"])
    assert baseline.loss_weights is None


def test_vit_base_grows_by_one_block_one_norm_and_one_head(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.clear()
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_base_patch16_224"
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [256, 256]
    tiny_cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        dcal, baseline = build(tiny_cfg), build(tiny_cfg, GLCA__NUM_BLOCKS=0, PWCA__NUM_BLOCKS=0)
    parameters = [sum(p.numel() for n, p in m.named_parameters() if n != "loss_weights.w") for m in (dcal, baseline)]
    d = 768
    block = (2 * 2 * d) + (3 * d * d + 3 * d) + (d * d + d) + (8 * d * d + 5 * d)
    norm, head = 2 * d, 2 * d + 4 * d  # BNNeck; a classifier of 4 identities
    assert parameters[0] - parameters[1] == block + norm + head
    assert round((block + norm) / 2**20, 1) == 6.8  # DCAL Table 3


def test_batch_norm_statistics_are_those_of_sa(tiny_cfg, tiny_batch):
    with_pwca, without = build(tiny_cfg), build(copy.deepcopy(tiny_cfg), PWCA__NUM_BLOCKS=0)
    for model in (with_pwca, without):
        model(tiny_batch)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        a, b = (getattr(m.heads["sa"].bottleneck[0], name) for m in (with_pwca, without))
        torch.testing.assert_close(a, b)


def test_images_are_normalised_channel_by_channel(tiny_cfg, tiny_batch):
    mean, std = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    tiny_cfg.MODEL.PIXEL_STATS, tiny_cfg.MODEL.PIXEL_MEAN, tiny_cfg.MODEL.PIXEL_STD = "config", mean, std
    found = build(tiny_cfg).preprocess_image(tiny_batch)
    for channel in range(3):
        expected = (tiny_batch["images"][:, channel].double() - mean[channel]) / std[channel]
        torch.testing.assert_close(found[:, channel], expected.float())


def test_the_batch_is_left_as_it_is_and_may_be_uint8_or_float(tiny_model, tiny_batch):
    """fast-reid normalises the caller's tensor in place, so that its flip test normalises twice."""
    tiny_model.eval()
    before = tiny_batch["images"].clone()
    features = tiny_model(tiny_batch)
    assert torch.equal(tiny_batch["images"], before)
    floats = before.float()
    torch.testing.assert_close(tiny_model(floats), features)
    assert torch.equal(floats, before.float())


def test_losses_are_the_branches_and_metrics_what_they_are_made_of(tiny_cfg, tiny_batch):
    """With a margin, which the loss sees and the accuracy does not."""
    heads = tiny_cfg.MODEL.HEADS
    heads.CLS_LAYER, heads.SCALE, heads.MARGIN = "CosSoftmax", 8, 0.3
    weights = {"sa": 0.5, "glca": 1.0, "pwca": -1.0}
    model = build(tiny_cfg, LOSS_WEIGHTS_INIT=list(weights.values()))
    outputs = []
    for head in model.heads.values():
        head.register_forward_hook(lambda head, args, output: outputs.append(output))
    losses, metrics, targets = model(tiny_batch), model.metrics, tiny_batch["targets"]
    assert set(losses) == {"loss_sa", "loss_glca", "loss_pwca"}
    with torch.no_grad():
        model.loss_weights.w += 1  # as a step would
    for branch, output in zip(("sa", "pwca", "glca"), outputs, strict=True):
        w, raw = weights[branch], metrics[f"{branch}/ce"] + metrics[f"{branch}/triplet"]
        torch.testing.assert_close(losses[f"loss_{branch}"], 0.5 * (math.exp(-w) * raw + w))
        assert metrics[f"{branch}/loss_weight"] == w
        ce = torch.nn.functional.cross_entropy(output["cls_outputs"], targets)
        torch.testing.assert_close(metrics[f"{branch}/ce"], ce.detach())
        hits = output["pred_class_logits"].argmax(dim=1) == targets
        assert metrics[f"{branch}/accuracy"] == hits.float().mean()
    assert all(not value.requires_grad for value in metrics.values())


def test_the_map_of_a_fresh_glca_with_the_cls_readout_is_that_of_sa(tiny_cfg, tiny_batch):
    """It is a copy of the last block, reads the same tokens, and rolls back through the same blocks."""
    model = build(tiny_cfg, GLCA__READOUT="cls").eval()
    maps = model.attention_maps(tiny_batch)
    torch.testing.assert_close(maps.glca, maps.sa, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("glca_input", "num_blocks"), [("parallel", 1), ("parallel", 2), ("stacked", 1)])
def test_attention_maps_equal_the_full_product(tiny_cfg, tiny_batch, glca_input, num_blocks):
    """Of GLCA too: its first block, then the self-attention blocks before the tokens that it reads."""
    model = build(tiny_cfg, GLCA__READOUT="cls", GLCA__INPUT=glca_input, GLCA__NUM_BLOCKS=num_blocks).eval()
    for parameter in model.parameters():  # attention that is far from uniform
        torch.nn.init.normal_(parameter, std=0.3)
    x = model.backbone.embed(model.preprocess_image(tiny_batch))
    sa = torch.eye(9).expand(8, 9, 9)

    def rolled(block, x, product):
        q, k, _ = block.attn.qkv(block.norm1(x)).unflatten(2, (3, 3, 16)).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(2, 3) / 4, dim=-1).mean(dim=1)
        return (0.5 * attention + 0.5 * torch.eye(9)) @ product

    for number, block in enumerate([*model.backbone.blocks, None]):
        if number == (3 if glca_input == "stacked" else 3 - num_blocks):
            glca = rolled(model.glca.blocks[0], x, sa)
        if block:
            sa, x = rolled(block, x, sa), block(x)
    maps = model.attention_maps(tiny_batch)
    assert maps.sa.shape == maps.glca.shape == (8, 4, 2) and maps.selected.shape == (8, 2)
    torch.testing.assert_close(maps.sa.flatten(1), sa[:, 0, 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(maps.glca.flatten(1), glca[:, 0, 1:], rtol=0, atol=1e-5)


def test_bf16_autocast_trains(tiny_model, tiny_batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = tiny_model(tiny_batch)
    total = sum(losses.values())
    assert total.dtype == torch.float32
    total.backward()


def test_classification_adds_the_probabilities_of_the_branches(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.HEADS.NAME, tiny_cfg.MODEL.HEADS.WITH_BNNECK = "DCALClassificationHead", False
    tiny_cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss",)
    model = build(tiny_cfg)
    assert set(model(tiny_batch)) == {"loss_sa", "loss_glca", "loss_pwca"}
    assert "sa/triplet" not in model.metrics
    model.eval()
    features = model.branch_features(model.preprocess_image(tiny_batch))
    expected = {branch: (features[branch] @ model.heads[branch].weight.T).softmax(dim=1) for branch in ("sa", "glca")}
    outputs = model.branch_outputs(tiny_batch)
    for branch, probabilities in expected.items():
        torch.testing.assert_close(outputs[branch], probabilities)
    torch.testing.assert_close(model(tiny_batch), expected["sa"] + expected["glca"])
    for branch in expected:
        model.inference = branch
        torch.testing.assert_close(model(tiny_batch), expected[branch])


@pytest.mark.parametrize("blocks", [3, 1])
@pytest.mark.parametrize("fused", [True, False])
def test_foreign_images_are_distractors_and_nothing_else(tiny_cfg, tiny_batch, blocks, fused):
    """The result is the same as if the foreign images were in the batch."""
    model = build(tiny_cfg, PWCA__NUM_BLOCKS=blocks).eval()
    for block in model.backbone.blocks:
        block.attn.fused_attn = fused
    images = model.preprocess_image(tiny_batch)
    four, foreign = images[:4], images[4:]
    outside = model.branch_features(four, torch.arange(4, 8), foreign)
    inside = model.branch_features(images, torch.tensor([4, 5, 6, 7, 0, 1, 2, 3]))
    for branch in ("sa", "glca", "pwca"):
        assert outside[branch].shape == (4, 48)
        torch.testing.assert_close(outside[branch], inside[branch][:4], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("distractors", ["noise", "noise_image"])
@pytest.mark.parametrize("blocks", [3, 1])
def test_distractors_from_noise(tiny_cfg, tiny_batch, distractors, blocks):
    model = build(tiny_cfg, PWCA__DISTRACTORS=distractors, PWCA__NUM_BLOCKS=blocks)
    losses, again = model(tiny_batch), model(tiny_batch)
    assert set(losses) == {"loss_sa", "loss_glca", "loss_pwca"}
    sum(losses.values()).backward()
    assert losses["loss_sa"] == again["loss_sa"] and losses["loss_pwca"] != again["loss_pwca"]


def test_distractors_from_another_data_set(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.DCAL.PWCA.DISTRACTORS = "external"
    model = build(tiny_cfg)
    model.loss_weights = None
    # With the image itself as the foreign image, the pair-wise loss is that of self-attention.
    losses = model({**tiny_batch, "distractors": tiny_batch["images"]})
    torch.testing.assert_close(losses["loss_pwca"], losses["loss_sa"], rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"distractors \(3, 3, 64, 32\) for images \(8, 3, 64, 32\)"):
        model({**tiny_batch, "distractors": tiny_batch["images"][:3]})


def test_noise_on_images_and_labels_is_for_training_only(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 0
    tiny_cfg.MODEL.NOISE.IMAGE, tiny_cfg.MODEL.NOISE.LABEL = 0.5, 0.25
    model = build(tiny_cfg)
    seen = {}
    model.backbone.vit.patch_embed.register_forward_pre_hook(lambda module, args: seen.update(images=args[0]))
    losses_of = model.losses
    labels = []
    model.losses = lambda features, targets: labels.append(targets) or losses_of(features, targets)
    clean = model.preprocess_image(tiny_batch)
    for _ in range(100):
        model(tiny_batch)
    noise = seen["images"] - clean
    assert noise.mean().abs() < 0.02 and noise.std() == pytest.approx(0.5, rel=0.05)
    # A quarter is drawn among four labels, one of which is the right one.
    changed = (torch.stack(labels) != tiny_batch["targets"]).float().mean()
    assert set(torch.stack(labels)[:, :2].flatten().tolist()) == {0, 1, 2, 3}
    assert changed == pytest.approx(0.25 * 3 / 4, abs=0.05)
    model.eval()(tiny_batch)
    assert torch.equal(seen["images"], clean)


def loss_and_gradients(model, batch):
    """The loss and gradients, each time with the same distractors and the same dropped paths."""
    torch.manual_seed(0)
    model.train().zero_grad()
    total = sum(model(batch).values())
    total.backward()
    return total.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_activation_checkpointing_changes_memory_and_nothing_else(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.BACKBONE.DROP_PATH_RATIO = 0.5
    model = build(tiny_cfg)

    def run():
        kept = {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            torch.manual_seed(0)
            model(tiny_batch)
        return sum(kept.values()), loss_and_gradients(model, tiny_batch)

    memory, (loss, gradients) = run()
    model.activation_checkpointing = True
    less, (same_loss, same_gradients) = run()
    assert less < memory / 2
    assert torch.equal(loss, same_loss)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))


@pytest.mark.parametrize("readout", ["cls", "mean"])
@pytest.mark.parametrize("timm_model", ["deit_tiny_patch16_224", "vit_tiny_patch16_224"])
def test_compiled_in_one_graph_it_gives_the_same(tiny_cfg, tiny_batch, timm_model, readout):
    """Traced as a whole, without a graph break, in training and at inference; the compiler backend is up to PyTorch."""
    tiny_cfg.MODEL.BACKBONE.TIMM_MODEL = timm_model
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.depth = tiny_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 2
    model = build(tiny_cfg, GLCA__READOUT=readout)
    loss, gradients = loss_and_gradients(model, tiny_batch)
    features = model.eval().branch_features(model.preprocess_image(tiny_batch))["glca"]
    torch.compiler.reset()
    model.compile(backend="aot_eager", fullgraph=True)
    compiled_loss, compiled_gradients = loss_and_gradients(model, tiny_batch)
    torch.testing.assert_close(compiled_loss, loss)
    for actual, expected in zip(compiled_gradients, gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        compiled = model.eval().branch_features(model.preprocess_image(tiny_batch))["glca"]
        torch.testing.assert_close(compiled, features, rtol=1e-5, atol=1e-5)
        # The last batch of a test set is smaller.
        fewer = {"images": tiny_batch["images"][:3]}
        torch.testing.assert_close(
            model.branch_features(model.preprocess_image(fewer))["glca"], features[:3], rtol=1e-5, atol=1e-5
        )


def test_compiled_to_machine_code_it_trains(tiny_cfg, tiny_batch):
    tiny_cfg.MODEL.BACKBONE.TIMM_KWARGS.depth = tiny_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 1
    model = build(tiny_cfg)
    loss, _ = loss_and_gradients(model, tiny_batch)
    torch.compiler.reset()
    model.compile()
    compiled, _ = loss_and_gradients(model, tiny_batch)
    torch.testing.assert_close(compiled, loss, rtol=1e-4, atol=1e-4)
