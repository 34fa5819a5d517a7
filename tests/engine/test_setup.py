import pytest
import torch

from dcal_reid.engine.setup import argument_parser, load_config, resolve_device, save_config, setup, use_device
from dcal_reid.errors import InputError


@pytest.fixture
def config_file(tmp_path):
    parts = "META_ARCHITECTURE: DCAL\n  BACKBONE: {NAME: build_timm_backbone}\n  HEADS: {NAME: DCALHead}"
    base = f"MODEL:\n  {parts}\n  DEVICE: cpu\nSOLVER:\n  BASE_LR: 0.5\n  MAX_EPOCH: 7\n"
    (tmp_path / "base.yml").write_text(base)
    path = tmp_path / "leaf.yml"
    path.write_text("_BASE_: base.yml\nSOLVER:\n  MAX_EPOCH: 3\n")
    return path


def test_defaults_base_leaf_and_overrides(config_file):
    cfg = load_config(str(config_file), ["SOLVER.BASE_LR", "0.25", "MODEL.DCAL.GLCA.RATIO", "0.1"])
    assert (cfg.MODEL.DEVICE, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR, cfg.MODEL.DCAL.GLCA.RATIO) == (
        "cpu",
        3,
        0.25,
        0.1,
    )


def test_a_mistyped_key_in_a_file_names_the_right_one(config_file):
    config_file.write_text("SOLVER:\n  MAX_EPOCHS: 3\n")
    with pytest.raises(InputError, match=r"no key SOLVER.MAX_EPOCHS; did you mean SOLVER.MAX_EPOCH\?"):
        load_config(str(config_file))


def test_a_mistyped_override_names_the_right_one(config_file):
    with pytest.raises(InputError, match=r"did you mean MODEL.DCAL.PWCA.PAIR_SAMPLER\?"):
        load_config(str(config_file), ["MODEL.DCAL.PWCA.PAIR_SAMPLR", "inter"])


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("_BASE_: nothing.yml\n", [], "nothing.yml"),
        ("_BASE_: leaf.yml\n", [], "leaf.yml is its own _BASE_, or nested too deeply"),
        pytest.param("SOLVER: " + "[" * 10**5, [], "leaf.yml is its own _BASE_, or nested too deeply", id="nested"),
        ("SOLVER:\n  BASE_LR: null\n", [], "SOLVER.BASE_LR is None; give a value, or leave the key out"),
        ("SEED: 1", ["OUTPUT_DIR", "None"], "OUTPUT_DIR is None; give a value"),
        ("SEED: 1", ["TEST.FLIP.ENABLED", "None"], "TEST.FLIP.ENABLED is None; give a value"),
        ("SOLVER: [", [], "not valid YAML"),
        ("SOLVER:\n  MAX_EPOCH: many\n", [], "many"),
        ("", ["SOLVER.MAX_EPOCH"], "configuration"),
        ("just words", [], "configuration"),
        ("SEED: 1", ["MODEL.WEIGHTS", "a.pth", "--eval-only"], "after all options such as --eval-only"),
        ("SEED: 1", ["--num-gpus", "2"], "after all options such as --eval-only"),
        ("SEED: 1", ["MODEL.WEIGHTS=a.pth"], "overrides are KEY VALUE pairs"),
        ("SEED: 1", ["DATASETS.CSV.QUERY_CAMERAS", "cam1"], "in brackets with a comma and in quotes: \"('CSVReID',)\""),
    ],
)
def test_other_mistakes_are_one_line(config_file, text, overrides, words):
    config_file.write_text(text)
    with pytest.raises(InputError) as error:
        load_config(str(config_file), overrides)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_an_override_may_give_timm_an_argument_that_no_file_has(config_file):
    overrides = ["MODEL.BACKBONE.TIMM_KWARGS.depth", "6", "MODEL.BACKBONE.TIMM_KWARGS.mlp_ratio", "2.5"]
    assert load_config(config_file, overrides).MODEL.BACKBONE.TIMM_KWARGS == {"depth": 6, "mlp_ratio": 2.5}
    overrides = ["MODEL.BACKBONE.TIMM_KWARGS.init_values", "None"]  # None has a meaning there
    assert load_config(config_file, overrides).MODEL.BACKBONE.TIMM_KWARGS == {"init_values": None}


def test_a_missing_file():
    with pytest.raises(InputError, match=r"'no.yml' not found"):
        load_config("no.yml")


def test_the_device_is_chosen_or_refused(tiny_cfg, monkeypatch):
    tiny_cfg.MODEL.DEVICE = "auto"
    resolve_device(tiny_cfg)
    assert ("cuda" if torch.cuda.is_available() else "cpu") == tiny_cfg.MODEL.DEVICE
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tiny_cfg.MODEL.DEVICE = "cuda"
    with pytest.raises(InputError, match="finds no GPU"):
        resolve_device(tiny_cfg)
    for name in ("", "gpu", "mps", "mps:0", "xpu", "meta", "cpu:1", "cuda:", "cuda:-1", "cuda:01", "CUDA"):
        tiny_cfg.MODEL.DEVICE = name
        with pytest.raises(InputError, match=rf"MODEL\.DEVICE is '{name}'; use auto, cpu, cuda, or cuda:1$"):
            resolve_device(tiny_cfg)


def test_a_gpu_that_is_not_there_is_refused(tiny_cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cuda", "cuda:0", "cuda:1"):
        tiny_cfg.MODEL.DEVICE = name
        resolve_device(tiny_cfg)
        assert name == tiny_cfg.MODEL.DEVICE
    for name in ("cuda:2", "cuda:7", "cuda:1000"):
        tiny_cfg.MODEL.DEVICE = name
        with pytest.raises(InputError, match=f"MODEL.DEVICE is '{name}', but the last GPU of this machine is cuda:1$"):
            resolve_device(tiny_cfg)


def test_setup_makes_the_run_folder_and_seeds(config_file, tmp_path):
    def draw(seed, folder, *options):
        arguments = ["--config-file", str(config_file), *options, "OUTPUT_DIR", str(tmp_path / folder), "SEED", seed]
        arguments += ["MODEL.LOSSES.TRI.HARD_MINING", "True"]
        cfg = setup(argument_parser().parse_args(arguments))
        assert cfg.is_frozen()
        return cfg, torch.rand(3)

    _, numbers = draw("5", "a")
    assert "seed 5" in (tmp_path / "a" / "log.txt").read_text()
    assert torch.equal(draw("5", "b")[1], numbers)
    fresh, others = draw("-1", "c")
    assert fresh.SEED >= 0 and not torch.equal(others, numbers)
    assert draw("-1", "d")[0].SEED != fresh.SEED
    # A start that fails keeps the configuration of the existing run.
    assert not (tmp_path / "c" / "config.yaml").exists()
    save_config(fresh)
    (tmp_path / "c" / "last_checkpoint").write_text("model_last.pth")
    resumed = draw("-1", "c", "--resume")[0]
    assert resumed == fresh and draw("-1", "c")[0].SEED != fresh.SEED


@pytest.mark.parametrize(
    ("device", "processes", "expected"), [("cuda", 1, "cuda:2"), ("cuda:1", 1, "cuda:1"), ("cuda:1", 4, "cuda:2")]
)
def test_a_gpu_becomes_the_one_that_is_used_where_none_is_named(tiny_cfg, device, processes, expected, monkeypatch):
    """With several processes each has its own, whatever is named."""
    used = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: processes)
    tiny_cfg.MODEL.DEVICE = device
    use_device(tiny_cfg)
    assert (tiny_cfg.MODEL.DEVICE, used) == (expected, [expected])


def test_a_saved_configuration_is_for_machines_without_this_ones_device(config_file, tmp_path, monkeypatch):
    cfg = load_config(str(config_file), ["OUTPUT_DIR", str(tmp_path)])
    for device, gpu, expected in (("cuda:0", True, "auto"), ("cpu", True, "cpu"), ("cpu", False, "auto")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        cfg.MODEL.DEVICE = device
        save_config(cfg)
        saved = load_config(str(tmp_path / "config.yaml"))
        assert expected == saved.MODEL.DEVICE and saved.SOLVER.MAX_EPOCH == 3
    assert cfg.MODEL.DEVICE == "cpu"


def test_setup_says_when_half_precision_is_left_out(config_file, tmp_path, monkeypatch):
    monkeypatch.setattr("dcal_reid.engine.inference.has_half_precision", lambda device, dtype: False)
    arguments = ["--config-file", str(config_file), "OUTPUT_DIR", str(tmp_path / "run"), "MODEL.DEVICE", "cpu"]
    arguments += ["MODEL.LOSSES.TRI.HARD_MINING", "True", "SOLVER.AMP.ENABLED"]
    for enabled in ("False", "True"):
        assert setup(argument_parser().parse_args([*arguments, enabled])).SOLVER.AMP.ENABLED is (enabled == "True")
        said = "SOLVER.AMP is left out" in (tmp_path / "run" / "log.txt").read_text()
        assert said is (enabled == "True")


def test_an_output_folder_that_cannot_be_written(config_file, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["--config-file", str(config_file), "OUTPUT_DIR", str(tmp_path / "file" / "run")]
    with pytest.raises(InputError, match="OUTPUT_DIR"):
        setup(argument_parser().parse_args(arguments))
