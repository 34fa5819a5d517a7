import runpy
from pathlib import Path

import pytest

from dcal_reid.errors import InputError

TOOL = Path(__file__).parents[2] / "tools" / "extract_features.py"


def test_a_model_for_classification_has_no_features(class_run_folder, tmp_path):
    tool = runpy.run_path(str(TOOL))
    weights = class_run_folder / "model_final.pth"
    words = [tmp_path / "images", tmp_path / "all.npz", "--weights", weights, "--device", "cpu"]
    with pytest.raises(InputError, match="this model gives probabilities of classes"):
        tool["run"](tool["parser"]().parse_intermixed_args([*map(str, words)]))
