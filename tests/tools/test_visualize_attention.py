import runpy
from pathlib import Path

import pytest
from PIL import Image

from dcal_reid.errors import InputError

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "visualize_attention.py"))


def run(*arguments):
    TOOL["run"](TOOL["parser"]().parse_intermixed_args(list(map(str, arguments))))


@pytest.mark.parametrize(
    "what",
    [["--images", "7_0_0.png", "."], ["--pair", "7_0_0.png", "8_0_0.png"], ["--dataset", "CSVReID", "--count", "2"]],
)
def test_draws(run_folder, crops, tmp_path, monkeypatch, what):
    monkeypatch.chdir(crops)
    weights = run_folder / "model_final.pth"
    run("--weights", weights, "--device", "cpu", *what, "--output", tmp_path / "look.png", "TEST.IMS_PER_BATCH", "4")
    with Image.open(tmp_path / "look.png") as picture:
        assert min(picture.size) > 300


def test_overrides_may_stand_behind_the_images(run_folder, crops, tmp_path):
    arguments = ["--weights", run_folder / "model_final.pth", "--device", "cpu", "--output", tmp_path / "look.png"]
    with pytest.raises(InputError, match=r"TEST\.METRIC is 'x'"):
        run(*arguments, "--images", crops / "7_0_0.png", "TEST.METRIC", "x")


def test_a_model_without_pair_wise_blocks_says_how_to_get_them(run_folder, crops, tmp_path):
    arguments = ["--weights", run_folder / "model_final.pth", "--output", tmp_path / "look.png"]
    pair = ["--pair", crops / "7_0_0.png", crops / "8_0_0.png"]
    with pytest.raises(InputError, match=r"set MODEL\.DCAL\.PWCA\.NUM_BLOCKS 3"):
        run("MODEL.DCAL.PWCA.NUM_BLOCKS", "0", *arguments, *pair)


@pytest.mark.parametrize("what", [[], ["--images", "a.png", "--pair", "a.png", "b.png"], ["--pair", "a.png"]])
def test_exactly_one_kind_of_picture(what, capsys):
    with pytest.raises(SystemExit):
        run("--weights", "model.pth", *what)
    assert "usage" in capsys.readouterr().err
