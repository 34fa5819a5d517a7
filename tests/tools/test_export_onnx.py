import runpy
from pathlib import Path

import pytest

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "export_onnx.py"))


def run(*arguments):
    TOOL["run"](TOOL["parser"]().parse_intermixed_args(list(map(str, arguments))))


def test_onnx(run_folder, crops, tmp_path, capsys):
    output = tmp_path / "model.onnx"
    options = ["--images", crops, "--with-predictor", "--device", "cpu"]
    run("--weights", run_folder / "model_final.pth", *options, output, "MODEL.DCAL.INFERENCE", "sa")
    assert "model.onnx: 40 images: cosine at least" in capsys.readouterr().out
    assert output.is_file() and (tmp_path / "onnx_predictor.py").is_file()


def test_help(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        run("--help")
    assert "OUTPUT.onnx" in capsys.readouterr().out
