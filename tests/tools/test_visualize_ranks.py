import runpy
from pathlib import Path

import pytest
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.engine.inference import evaluate_dataset
from dcal_reid.errors import InputError

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "visualize_ranks.py"))


def run(*arguments):
    TOOL["run"](TOOL["parser"]().parse_intermixed_args(list(map(str, arguments))))


def test_from_a_model_and_from_its_features(run_folder, tmp_path, capsys):
    weights = ["--weights", run_folder / "model_final.pth", "--device", "cpu"]
    curves = tmp_path / "curves.png"
    run(*weights, "--output", tmp_path / "a.png", "--curves", curves, "--attention", "--top", "3", "--count", "2")
    table = capsys.readouterr().out
    assert "4 queries, 0 of them without a valid match; 12 gallery items" in table and "|   Rank-1 |" in table

    predictor = Predictor(run_folder / "model_final.pth")
    evaluate_dataset(predictor.cfg, predictor.model, "CSVReID")[1].features().save(tmp_path / "features.npz")
    run("--features", tmp_path / "features.npz", "--output", tmp_path / "b.png", "--queries", "0", "3")
    assert capsys.readouterr().out == table
    # With a model they are scored as its configuration says.
    config = run_folder / "config.yaml"
    config.write_text(config.read_text().replace("METRIC: cosine", "METRIC: chebyshev"))
    with pytest.raises(InputError, match=r"TEST\.METRIC is 'chebyshev'"):
        run(*weights, "--features", tmp_path / "features.npz", "--output", tmp_path / "b.png")
    for name in ("a.png", "b.png", "curves.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
