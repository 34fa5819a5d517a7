import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.config import CfgNode
from dcal_reid.engine.setup import save_config
from dcal_reid.errors import InputError
from dcal_reid.export import export_onnx


def features_of_onnx(path, images):
    """With onnxruntime alone: (n, 3, H, W) uint8 -> (n, D)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def features_of_program(path, images):
    with torch.no_grad():
        return torch.export.load(path).module()(images)


def assert_same_for_any_batch(features, path, predictor, views=(lambda images: images,)):
    """Batches of 1, 2 and 7 images through one file, against the mean over their views in PyTorch."""
    generator = torch.Generator().manual_seed(3)
    for batch in (1, 2, 7):
        images = torch.randint(0, 256, (batch, 3, *predictor.image_size), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            expected = torch.stack([predictor.model(view(images)) for view in views]).mean(dim=0)
        torch.testing.assert_close(features(path, images), expected, rtol=1e-3, atol=1e-4)


@pytest.fixture
def run_cfg(run_cfg):
    """With two blocks, because PyTorch needs seconds to trace each."""
    run_cfg.MODEL.BACKBONE.TIMM_KWARGS.depth = run_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 2
    return run_cfg


@pytest.fixture
def predictor_of(run_folder):
    """A function that gives the model of the run with other settings under MODEL.DCAL."""

    def make(**options):
        overrides = [word for key, value in options.items() for word in ("MODEL.DCAL." + key.replace("__", "."), value)]
        return Predictor(run_folder / "model_final.pth", overrides=overrides)

    return make


@pytest.mark.parametrize("options", [
    {"GLCA__READOUT": "cls"},
    {"GLCA__READOUT": "mean"},
    {"GLCA__READOUT": "cls+local", "GLCA__SELECTION": "last", "INFERENCE": "glca"},
    {"INFERENCE": "sa"},
], ids=lambda options: "-".join(options.values()))  # fmt: skip
def test_vit(predictor_of, tmp_path, options):
    predictor = predictor_of(**options)
    export_onnx(predictor, tmp_path / "model.onnx")
    assert_same_for_any_batch(features_of_onnx, tmp_path / "model.onnx", predictor)


def assert_an_untrained_model_is_exported(cfg, tmp_path):
    Path(cfg.OUTPUT_DIR).mkdir()
    save_config(cfg)
    torch.manual_seed(0)
    predictor = Predictor(config_file=f"{cfg.OUTPUT_DIR}/config.yaml")
    export_onnx(predictor, tmp_path / "model.onnx")
    assert_same_for_any_batch(features_of_onnx, tmp_path / "model.onnx", predictor)


@pytest.mark.parametrize(("name", "kwargs", "size", "options"), [
    ("vit_small_patch14_reg4_dinov2", {"depth": 2, "embed_dim": 48, "num_heads": 3}, (56, 28), {}),
    (
        "cait_xxs24_224", {"depth": 1, "embed_dim": 48, "num_heads": 3}, (64, 48),
        {"GLCA__INPUT": "stacked", "GLCA__NUM_BLOCKS": 2},
    ),
    (
        "swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4},
        (64, 32), {"GLCA__NUM_BLOCKS": 0},
    ),
    (
        "crossvit_tiny_240", {"embed_dim": (24, 48), "depth": ((1, 1, 0),), "num_heads": (3, 3)},
        (240, 240), {"GLCA__NUM_BLOCKS": 0},
    ),
], ids=["registers", "cait", "swin", "crossvit"])  # fmt: skip
def test_other_backbones(run_cfg, tmp_path, name, kwargs, size, options):
    run_cfg.MODEL.BACKBONE.TIMM_MODEL = name
    run_cfg.MODEL.BACKBONE.TIMM_KWARGS = CfgNode(kwargs, new_allowed=True)
    run_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 0
    run_cfg.INPUT.SIZE_TRAIN = run_cfg.INPUT.SIZE_TEST = list(size)
    for key, value in options.items():
        run_cfg.merge_from_list(["MODEL.DCAL." + key.replace("__", "."), value])
    assert_an_untrained_model_is_exported(run_cfg, tmp_path)


def test_fastreids_own_network(run_cfg, fastreid_cfg, tmp_path):  # in this order: without PWCA's two blocks
    assert_an_untrained_model_is_exported(fastreid_cfg, tmp_path)


def test_classes_flip_and_metadata(class_run_folder, tmp_path):
    predictor = Predictor(class_run_folder / "model_final.pth", overrides=["TEST.FLIP.ENABLED", "True"])
    export_onnx(predictor, tmp_path / "model.onnx")
    both = (lambda images: images, lambda images: images.flip(dims=[3]))
    assert_same_for_any_batch(features_of_onnx, tmp_path / "model.onnx", predictor, both)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [output.name for output in model.graph.output] == ["probabilities"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["fingerprint"] == predictor.fingerprint
    assert json.loads(metadata["class_names"]) == ["blue", "green", "grey", "red"]
    assert [json.loads(metadata[key]) for key in ("resize", "crop", "flip")] == [[40, 40], [32, 32], True]
    assert str(Path(__file__).parents[2]).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_program_and_given_images(predictor_of, crops, tmp_path, capsys, monkeypatch):
    predictor, batches, preprocess = predictor_of(), [], Predictor.preprocess
    monkeypatch.setattr(Predictor, "preprocess", lambda self, part: batches.append(len(part)) or preprocess(self, part))
    export_onnx(predictor, tmp_path / "model.onnx", [str(crops), str(crops / "0_0_0.png")], tmp_path / "model.pt2")
    assert_same_for_any_batch(features_of_program, tmp_path / "model.pt2", predictor)
    out = capsys.readouterr().out
    assert "model.pt2: 41 images: cosine at least 1.0" in out and "model.onnx: 41 images: cosine at least 1.0" in out
    assert max(batches) == predictor.cfg.TEST.IMS_PER_BATCH


def test_a_model_that_differs_is_not_written(predictor_of, tmp_path, monkeypatch):
    predictor = predictor_of(INFERENCE="sa")
    (tmp_path / "model.onnx").write_text("the one before")
    expected = np.random.default_rng(0).normal(size=(16, 48))
    monkeypatch.setattr("dcal_reid.export.onnx_model.expected_features", lambda *_: expected)
    with pytest.raises(InputError, match=r"model\.onnx does not give the features of PyTorch, so it is not written"):
        export_onnx(predictor, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "the one before"
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*"))


def test_wrong_input_is_refused_before_anything_is_traced(run_folder, predictor_of, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.export.export", None)
    predictor, output = predictor_of(), tmp_path / "model.onnx"
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ((tmp_path / "model.pth",), r"model\.pth' cannot be written: give a name\.onnx"),
        ((tmp_path / "none" / "model.onnx",), "cannot be written: give a name.onnx in a folder that exists"),
        ((output, (), "model.pt"), r"'model\.pt' cannot be written: give a name\.pt2"),
        ((tmp_path / "\udcff.onnx",), r"\\udcff\.onnx' cannot be written: onnxruntime opens names in UTF-8 only"),
        ((output, [str(tmp_path / "empty")]), r"empty' is neither an image file nor a folder with any below it"),
        ((output, ["none.jpg"]), r"'none\.jpg' is neither an image file"),
    ]:
        with pytest.raises(InputError, match=message):
            export_onnx(predictor, *arguments)
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "folder.pt2").mkdir()
    for arguments in ((tmp_path / "folder.onnx",), (output, (), tmp_path / "folder.pt2")):
        with pytest.raises(IsADirectoryError):
            export_onnx(predictor, *arguments)
    with pytest.raises(InputError, match="SELECTION is 'random'"):
        export_onnx(predictor_of(GLCA__SELECTION="random"), output)
    compiled = Predictor(run_folder / "model_final.pth", overrides=["MODEL.COMPILE", "True"])
    with pytest.raises(InputError, match=r"MODEL\.COMPILE is True"):
        export_onnx(compiled, output)
    monkeypatch.setattr("dcal_reid.export.onnx_model.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'onnx is missing; run pip install "dcal_reid\[export\]"'):
        export_onnx(predictor, output)


def test_a_broken_image_is_named(predictor_of, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b\.png' cannot be decoded"):
        export_onnx(predictor_of(INFERENCE="sa"), tmp_path / "model.onnx", [str(tmp_path)])
