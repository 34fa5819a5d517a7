import runpy
from pathlib import Path

import pytest
import torch

from dcal_reid import Predictor
from dcal_reid.errors import InputError

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "export.py"))


def run(*arguments):
    TOOL["run"](TOOL["parser"]().parse_intermixed_args(list(map(str, arguments))))


def test_weights(run_folder, crops, tmp_path, capsys):
    weights, output = run_folder / "model_final.pth", tmp_path / "model.safetensors"
    run("--weights", weights, output, "TEST.IMS_PER_BATCH", "3")
    expected, found = Predictor(weights), Predictor(output)
    image = crops / "0_0_0.png"
    torch.testing.assert_close(found(image), expected(image))
    assert found.cfg.TEST.IMS_PER_BATCH == 3
    assert f"model.safetensors: {output.stat().st_size / 1e6:.1f} MB, fingerprint {expected.fingerprint}" in (
        capsys.readouterr().out
    )
    run("--weights", weights, tmp_path / "\udcff.safetensors")
    assert "?.safetensors: " in capsys.readouterr().out
    with pytest.raises(InputError, match=r"weights are written as safetensors, not as 'model\.pth'"):
        run("--weights", weights, "model.pth")
