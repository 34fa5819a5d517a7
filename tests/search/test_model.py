import argparse
import runpy
from pathlib import Path

import pytest
import torch

from dcal_reid.errors import InputError
from dcal_reid.search.model import feature_predictor

TOOL = Path(__file__).parents[2] / "tools" / "extract_features.py"


def test_the_model_that_the_command_line_names(other_predictor, run_folder, crops):
    weights, flip = str(run_folder / "model_final.pth"), ["TEST.FLIP.ENABLED", "True"]
    named = feature_predictor(argparse.Namespace(weights=weights, config_file="", opts=flip, device="cpu"))
    image = crops / "0_0_0.png"
    torch.testing.assert_close(named(image), other_predictor(image))


def test_a_model_for_classification_has_no_features(class_run_folder, tmp_path):
    tool = runpy.run_path(str(TOOL))
    weights = class_run_folder / "model_final.pth"
    words = [tmp_path / "images", tmp_path / "all.npz", "--weights", weights, "--device", "cpu"]
    with pytest.raises(InputError, match="this model gives probabilities of classes"):
        tool["run"](tool["parser"]().parse_intermixed_args([*map(str, words)]))
