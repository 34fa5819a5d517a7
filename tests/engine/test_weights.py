import stat

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from dcal_reid import Predictor, load_model
from dcal_reid.engine import Checkpointer
from dcal_reid.engine.weights import save_weights
from dcal_reid.errors import InputError

ON_THEIR_SIDE = ("INPUT.SIZE_TRAIN", "[32, 64]", "INPUT.SIZE_TEST", "[32, 64]")


@pytest.fixture
def exported(run_folder, tmp_path):
    predictor = Predictor(run_folder / "model_final.pth")
    path = tmp_path / "exported" / "model.safetensors"
    path.parent.mkdir()
    save_weights(path, predictor.cfg, predictor.model)
    return predictor, path


def test_features_are_those_of_the_checkpoint(exported, tiny_batch):
    predictor, path = exported
    expected = predictor.model(tiny_batch["images"])
    assert torch.equal(load_model(path)(tiny_batch["images"]), expected)


def test_holds_what_inference_needs_and_nothing_of_this_machine(exported, tmp_path):
    predictor, path = exported
    with safe_open(path, framework="pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    left_out = set(predictor.model.state_dict()) - names
    assert left_out == {"heads.sa.weight", "heads.glca.weight", "loss_weights.w"}
    assert metadata["fingerprint"] == predictor.fingerprint == Predictor(path).fingerprint
    assert "TIMM_MODEL: vit_tiny_patch16_224" in metadata["config"]
    assert "model_final.pth" not in metadata["config"]
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(_created(tmp_path / "other").stat().st_mode)


def test_images_on_their_side_have_other_patches(exported):
    """Their position embeddings have the same shape."""
    _, path = exported
    with pytest.raises(
        InputError, match=r"images with 4 x 2 patches, the model's have 2 x 4; use the configuration in it"
    ):
        Predictor(path, overrides=ON_THEIR_SIDE)


def test_what_does_not_fit_is_told_where_its_configuration_is(exported, run_folder):
    _, path = exported
    larger = ("INPUT.SIZE_TRAIN", "[64,64]", "INPUT.SIZE_TEST", "[64,64]")
    for file, place in ((path, "configuration in it"), (run_folder / "model_final.pth", r"config\.yaml beside the")):
        with pytest.raises(InputError, match=f"of which the file has .*; use the {place}"):
            Predictor(file, overrides=larger)


def test_training_at_another_size_starts_from_resized_position_embeddings(exported, tiny_cfg):
    predictor, path = exported
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [32, 64]
    model = build_model(tiny_cfg)
    Checkpointer(model).load_weights(path)
    given, resized = (each.backbone.vit.pos_embed for each in (predictor.model, model))
    torch.testing.assert_close(resized, resample_abs_pos_embed(given, [2, 4], [4, 2]))
    tiny_cfg.INPUT.SIZE_TRAIN = tiny_cfg.INPUT.SIZE_TEST = [64, 64]
    Checkpointer(build_model(tiny_cfg)).load_weights(path)


def test_exports_that_do_not_tell_the_patches_are_not_checked(exported):
    _, path = exported
    with_metadata(path, grid_size=None)
    assert Predictor(path).dim == Predictor(path, overrides=ON_THEIR_SIDE).dim == 96


def with_metadata(path, **texts):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, {name: text for name, text in (metadata | texts).items() if text is not None})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("grid_size", "4 x 2"),
        ("grid_size", "4"),
        pytest.param("grid_size", "[" * 10**5, id="nested"),
        ("class_names", "[1]"),
        ("num_classes", "-1"),
    ],
)
def test_what_a_file_says_beside_its_tensors_is_as_it_was_written(exported, name, text):
    _, path = exported
    with_metadata(path, **{name: text})
    with pytest.raises(InputError, match=rf"model\.safetensors' is damaged: its {name} is not as it was written"):
        Predictor(path)


def test_what_others_say_in_their_files_is_theirs(exported, run_folder, tiny_batch):
    predictor, path = exported
    with_metadata(path, dcal_reid=None, config="{}", fingerprint="theirs", grid_size="14", class_names="all of them")
    found = Predictor(path, config_file=str(run_folder / "config.yaml"))
    assert torch.equal(found.model(tiny_batch["images"]), predictor.model(tiny_batch["images"]))
    with pytest.raises(InputError, match="there is no configuration with"):
        Predictor(path)


def test_exports_of_another_version(exported):
    _, path = exported
    with_metadata(path, dcal_reid="2\n")
    with pytest.raises(InputError, match=r"is of version '2\\n', this reads version 1: export it again"):
        Predictor(path)


def _created(path):
    path.touch()
    return path


def test_names_of_classes_travel_too(class_run_folder, tmp_path):
    predictor = Predictor(class_run_folder / "model_final.pth")
    assert predictor.class_names == ["blue", "green", "grey", "red"]
    save_weights(tmp_path / "a.safetensors", predictor.cfg, predictor.model, predictor.class_names)
    again = Predictor(tmp_path / "a.safetensors")
    assert again.class_names == predictor.class_names
    image = torch.zeros((3, 40, 40), dtype=torch.uint8)
    torch.testing.assert_close(again(image), predictor(image))
    assert again(image).shape == (1, 4)


@pytest.mark.parametrize(("key", "option"), [("MODEL.WEIGHTS", "--weights"), ("MODEL.DEVICE", "--device")])
def test_weights_and_device_have_options_of_their_own(run_folder, key, option):
    with pytest.raises(InputError, match=f"{key} is among the overrides; give it with {option}"):
        load_model(run_folder / "model_final.pth", overrides=["TEST.IMS_PER_BATCH", "2", key, "other"])


def test_the_fingerprint_is_of_all_that_decides_features(run_folder):
    def fingerprint(*overrides):
        return Predictor(run_folder / "model_final.pth", overrides=overrides).fingerprint

    same = fingerprint()
    assert fingerprint("TEST.IMS_PER_BATCH", "3") == fingerprint("SOLVER.BASE_LR", "0.5") == same
    other = [("MODEL.DCAL.INFERENCE", "sa"), ("MODEL.DCAL.GLCA.RATIO", "0.5"), ("TEST.FLIP.ENABLED", "True")]
    assert len({same, *(fingerprint(*one) for one in other)}) == 4


def test_a_file_that_was_changed_is_refused(exported):
    _, path = exported
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="has changed since it was written"):
        Predictor(path)
    assert Predictor(path, overrides=("MODEL.DCAL.INFERENCE", "sa")).dim == 48


def test_a_model_without_weights_is_told(run_folder, caplog):
    load_model("", config_file=str(run_folder / "config.yaml"))
    assert "before any training of its own" in caplog.text


def test_wrong_files(exported, run_folder, tmp_path):
    predictor, path = exported
    with pytest.raises(InputError, match=r"written as safetensors, not as '.*\.pth'"):
        save_weights(tmp_path / "a.pth", predictor.cfg, predictor.model)
    with pytest.raises(InputError, match=r"checkpoint 'nowhere\.pth' not found"):
        load_model("nowhere.pth")
    with pytest.raises(InputError, match=r"is a folder; give a file in it"):
        load_model(run_folder)
    with pytest.raises(InputError, match="no weights are given; give a checkpoint with --weights"):
        load_model("")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        load_model(path)
    (run_folder / "config.yaml").unlink()
    with pytest.raises(InputError, match="no configuration with"):
        load_model(run_folder / "model_final.pth")
