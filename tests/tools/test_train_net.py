"""tools/train_net.py as it is called."""

import re
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "train_net.py"


@pytest.fixture
def call(monkeypatch):
    """Call the tool with these arguments."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *words])
        runpy.run_path(str(TOOL), run_name="__main__")

    return call


def test_training_gets_what_was_given(call, monkeypatch):
    given = []
    monkeypatch.setattr("dcal_reid.engine.main", given.append)
    call("--config-file", "a.yml", "--resume", "--num-gpus", "2", "SOLVER.BASE_LR", "0.1")
    call("--config-file", "a.yml", "--eval-only", "MODEL.WEIGHTS", "b.pth")
    trained, evaluated = given
    assert (trained.config_file, trained.resume, trained.eval_only, trained.num_gpus) == ("a.yml", True, False, 2)
    assert trained.opts == ["SOLVER.BASE_LR", "0.1"]
    assert (evaluated.resume, evaluated.eval_only, evaluated.opts) == (False, True, ["MODEL.WEIGHTS", "b.pth"])


def test_help(call, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        call("--help")
    text = capsys.readouterr().out
    assert all(option in text for option in ("--config-file", "--resume", "--eval-only", "--num-gpus"))


def test_wrong_input_is_one_line(call, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        call("--config-file", "none.yml")
    assert re.fullmatch(r"error: .*none\.yml.*\n", capsys.readouterr().err)
