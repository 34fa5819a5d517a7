import copy

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from dcal_reid.engine.checkpoint import Checkpointer, RandomState
from dcal_reid.engine.weight_file import read_weights
from dcal_reid.errors import InputError


@pytest.fixture
def saved(tiny_model, tmp_path):
    Checkpointer(tiny_model, str(tmp_path), random_state=RandomState()).save("model_last", epoch=4)
    return tmp_path / "model_last.pth"


def build(cfg, **options):
    for key, value in options.items():
        cfg.merge_from_list([f"MODEL.{key.replace('__', '.')}", value])
    torch.manual_seed(9)
    return build_model(cfg)


def same(model, other, names=None):
    a, b = model.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in names or a)


def test_resume_restores_everything(tiny_cfg, tiny_model, saved, tmp_path):
    model = build(tiny_cfg)
    assert not same(model, tiny_model)
    checkpointer = Checkpointer(model, str(tmp_path), random_state=RandomState())
    state = torch.get_rng_state()
    expected = torch.rand(3)
    torch.set_rng_state(state)
    Checkpointer(tiny_model, str(tmp_path), random_state=RandomState()).save("model_last", epoch=4)
    torch.manual_seed(123)
    assert checkpointer.has_checkpoint() and checkpointer.resume() == {"epoch": 4}
    assert same(model, tiny_model) and torch.equal(torch.rand(3), expected)


def test_the_checkpoint_can_be_read_without_running_code(saved):
    torch.load(saved, weights_only=True)


def test_a_failed_write_leaves_the_last_good_one(tiny_model, saved, tmp_path, monkeypatch):
    before = saved.read_bytes()

    def full(*args):
        args[1].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"model_last\.pth' cannot be written: .*No space left on device; make room"):
        Checkpointer(tiny_model, str(tmp_path), random_state=RandomState()).save("model_last", epoch=5)
    assert saved.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model_last.pth"]


def load_for_evaluation(model, path):
    Checkpointer(model).load_for_evaluation(path, read_weights(path))


def test_resume_refuses_another_model(tiny_cfg, saved, tmp_path):
    model = build(tiny_cfg, HEADS__NUM_CLASSES=7)
    with pytest.raises(InputError, match=r"heads.glca.weight \[7, 48\], of which the file has \[4, 48\]"):
        Checkpointer(model, str(tmp_path), random_state=RandomState()).resume()


def test_resume_needs_more_than_weights(tiny_model, tmp_path):
    Checkpointer(tiny_model, str(tmp_path)).save("weights")
    with pytest.raises(InputError, match="holds no random_state"):
        Checkpointer(tiny_model, str(tmp_path), random_state=RandomState()).resume()


def test_evaluation_needs_no_classifier(tiny_cfg, tiny_model, saved):
    assert read_weights(saved).num_classes == 4
    model = build(tiny_cfg, HEADS__NUM_CLASSES=7)
    load_for_evaluation(model, saved)
    features = [n for n in model.state_dict() if not n.endswith(("sa.weight", "glca.weight"))]
    assert same(model, tiny_model, features)


def test_an_architecture_of_a_users_own_needs_no_backbone_and_any_classifier(tmp_path):
    model = torch.nn.Linear(3, 7)
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.save("weights", num_classes=7)
    assert read_weights(tmp_path / "weights.pth").num_classes == 7
    other = torch.nn.Linear(3, 7)
    load_for_evaluation(other, tmp_path / "weights.pth")
    assert same(other, model)


def test_evaluation_refuses_a_checkpoint_without_the_branch(tiny_cfg, tmp_path):
    baseline = build(copy.deepcopy(tiny_cfg), DCAL__GLCA__NUM_BLOCKS=0, DCAL__PWCA__NUM_BLOCKS=0)
    Checkpointer(baseline, str(tmp_path)).save("baseline")
    with pytest.raises(InputError, match=r"first is heads.glca.bottleneck.0.weight .* no such tensor"):
        load_for_evaluation(build(tiny_cfg), tmp_path / "baseline.pth")
    dcal = build(copy.deepcopy(tiny_cfg))
    Checkpointer(dcal, str(tmp_path)).save("dcal")
    load_for_evaluation(baseline, tmp_path / "dcal.pth")
    assert same(baseline.backbone, dcal.backbone)


def test_evaluation_refuses_another_size(tiny_cfg, saved):
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [64, 64]
    with pytest.raises(InputError, match=r"backbone.vit.pos_embed \[1, 17, 48\]"):
        load_for_evaluation(build(tiny_cfg), saved)


def test_images_on_their_side_have_other_patches(tiny_cfg, tiny_model, saved, tmp_path):
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [32, 64]
    model = build(tiny_cfg)
    with pytest.raises(InputError, match="images with 4 x 2 patches, the model's have 2 x 4"):
        load_for_evaluation(model, saved)
    with pytest.raises(InputError, match="images with 4 x 2 patches, the model's have 2 x 4"):
        Checkpointer(model, str(tmp_path), random_state=RandomState()).resume()


@pytest.mark.parametrize("size", [[32, 64], [96, 48], [64, 64]])
def test_training_at_another_size_starts_from_resized_position_embeddings(tiny_cfg, tiny_model, saved, size):
    rows, columns = tiny_model.backbone.grid_size
    with torch.no_grad():
        column = torch.arange(float(columns)).expand(rows, columns).reshape(-1, 1)
        tiny_model.backbone.vit.pos_embed[0, 1:] = column
    Checkpointer(tiny_model, str(saved.parent)).save("trained")
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = size
    model = build(tiny_cfg)
    Checkpointer(model).load_weights(saved.parent / "trained.pth")
    given, resized = (each.backbone.vit.pos_embed[0] for each in (tiny_model, model))
    assert torch.equal(resized[0], given[0])  # the CLS token's
    grid = resized[1:].reshape(*model.backbone.grid_size, -1)
    assert torch.allclose(grid, grid[:1, :, :1].expand_as(grid), atol=1e-5)  # each column still has one value
    assert (grid[0, 1:, 0] > grid[0, :-1, 0]).all()
    others = [name for name in model.state_dict() if not name.endswith("pos_embed")]
    assert same(model, tiny_model, others)


def test_weights_that_do_not_tell_the_size_of_their_images_are_not_resized(tiny_cfg, tiny_model, saved):
    torch.save(tiny_model.state_dict(), saved)
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [64, 64]
    with pytest.raises(InputError, match=r"backbone.vit.pos_embed \[1, 17, 48\]"):
        Checkpointer(build(tiny_cfg)).load_weights(saved)


@pytest.mark.parametrize(("init", "copied"), [("copy", True), ("fresh", False)])
def test_glca_starts_from_the_blocks_of_a_baselines_checkpoint(tiny_cfg, tmp_path, init, copied):
    baseline = build(copy.deepcopy(tiny_cfg), DCAL__GLCA__NUM_BLOCKS=0, DCAL__PWCA__NUM_BLOCKS=0)
    for parameter in baseline.parameters():
        parameter.data += torch.randn_like(parameter)
    Checkpointer(baseline, str(tmp_path)).save("baseline")
    model = build(tiny_cfg, DCAL__GLCA__INIT=init)
    Checkpointer(model).load_weights(tmp_path / "baseline.pth")
    assert same(model.backbone, baseline.backbone)
    assert same(model.glca.blocks[-1], baseline.backbone.blocks[-1]) == copied
    assert same(model.glca.norm, baseline.backbone.norm) == copied


def test_glca_of_another_number_of_blocks_starts_from_the_loaded_blocks(tiny_cfg, tiny_model, saved):
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            parameter += torch.randn_like(parameter)
    Checkpointer(tiny_model, str(saved.parent)).save("trained")
    model = build(tiny_cfg, DCAL__GLCA__NUM_BLOCKS=2)
    Checkpointer(model).load_weights(saved.parent / "trained.pth")
    for own, loaded in zip(model.glca.blocks, tiny_model.backbone.blocks[-2:], strict=True):
        assert same(own, loaded)
    assert same(model.glca.norm, tiny_model.backbone.norm)


def test_training_starts_from_weights_with_other_identities(tiny_cfg, tiny_model, saved):
    model = build(tiny_cfg, HEADS__NUM_CLASSES=7)
    Checkpointer(model).load_weights(saved)
    assert same(model.backbone, tiny_model.backbone) and model.heads["sa"].weight.shape == (7, 48)
    with pytest.raises(InputError, match="not found"):
        Checkpointer(model).load_weights("nowhere.pth")


def test_training_starts_with_its_own_weights_of_the_losses(tiny_cfg, tmp_path):
    """The loss weights in a checkpoint belong to its own branches."""
    both = build(copy.deepcopy(tiny_cfg), DCAL__PWCA__NUM_BLOCKS=0)
    both.loss_weights.w.data.fill_(5.0)
    Checkpointer(both, str(tmp_path)).save("both")
    model = build(tiny_cfg, DCAL__GLCA__NUM_BLOCKS=0)
    Checkpointer(model).load_weights(tmp_path / "both.pth")
    assert model.loss_weights.w.tolist() == [0.0, 0.0] and same(model.backbone, both.backbone)


def test_weights_of_a_backbone_alone_belong_elsewhere(tiny_model, tmp_path):
    torch.save({"model": tiny_model.backbone.vit.state_dict()}, tmp_path / "deit.pth")
    with pytest.raises(InputError, match=r"no tensor of the model: the first .* is 'cls_token'; .* MODEL\.BACKBONE\."):
        Checkpointer(tiny_model).load_weights(tmp_path / "deit.pth")
