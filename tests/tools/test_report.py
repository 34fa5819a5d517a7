import runpy
from pathlib import Path

import pytest

from dcal_reid.errors import exit_on_input_error

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "report.py"))


def run(*arguments):
    exit_on_input_error(TOOL["run"], TOOL["parser"]().parse_intermixed_args(list(map(str, arguments))))


def test_writes_one_file(run_folder, tmp_path):
    report = tmp_path / "out" / "report.html"
    report.parent.mkdir()
    run("--weights", run_folder / "model_final.pth", "--output", report, "--count", "2", "TEST.METRIC", "euclidean")
    text = report.read_text()
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert "METRIC: euclidean" in text
    assert list(report.parent.iterdir()) == [report]


def test_wrong_input_gives_one_line(run_folder, tmp_path, capsys):
    weights = run_folder / "model_final.pth"
    with pytest.raises(SystemExit, match=r"^2$"):
        run("--weights", weights, "--output", tmp_path / "report.html", "--dataset", "CSVReIDs")
    assert "error: dataset 'CSVReIDs' is not registered; did you mean CSVReID" in capsys.readouterr().err
