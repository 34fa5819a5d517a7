from pathlib import Path

import pytest
from helpers.forks import run_forked

from dcal_reid import demo
from dcal_reid.demo import run_demo
from dcal_reid.engine import argument_parser
from dcal_reid.errors import InputError

REPOSITORY = Path(__file__).parents[1]


SMALLER = ["INPUT.SIZE_TRAIN", "[48,48]", "INPUT.SIZE_TEST", "[48,48]", "INPUT.CROP.SIZE", "[40,40]"]


@pytest.mark.parametrize(
    ("config", "smaller", "pictures"),
    [
        ("dcal", [], {"rank_lists.png", "attention.png"}),
        ("dcal_fgvc", SMALLER, {"predictions.png", "attention.png", "evaluation/DemoFGVC/confusion.png"}),
    ],
)
def test_the_demo_ends_with_a_table_and_pictures(tmp_path, monkeypatch, config, smaller, pictures):
    """One epoch, so that it takes seconds; the result of the full demo is in the README."""
    overrides = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_ITERS", "1", "OUTPUT_DIR", str(tmp_path / "run"), *smaller]
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    result = run_forked(["tools/demo.py", "--config-file", f"configs/demo/{config}.yml", *overrides])
    assert result.returncode == 0, result.stderr
    table = result.stdout[result.stdout.rindex("untrained and trained") :]
    assert "| untrained |" in table and "| trained" in table
    left = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")}
    expected = {"model_final.pth", "model_best.pth", "metrics.json", "config.yaml", "log.txt"}
    assert left >= expected | pictures
    assert any(name.startswith("events.out.tfevents") for name in left)


@pytest.fixture
def demo_of_nothing(tmp_path, monkeypatch):
    """Call the demo without its work, and return where it would have written the dataset."""
    roots = []
    for name, function in {
        "write_demo_dataset": roots.append,
        "evaluate": lambda cfg: {"mAP": 1.0},
        "train": lambda cfg, resume: {"mAP": 2.0},
        "_draw": lambda cfg: [],
    }.items():
        monkeypatch.setattr(demo, name, function)
    config = ["--config-file", str(REPOSITORY / "configs" / "demo" / "dcal.yml"), "OUTPUT_DIR", str(tmp_path / "run")]

    def run():
        run_demo(argument_parser().parse_args(config))
        return roots

    return run


def test_the_demo_writes_to_where_data_sets_are_looked_for(demo_of_nothing, tmp_path, monkeypatch):
    """A ~ that no shell has expanded is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FASTREID_DATASETS", "~/data")
    assert demo_of_nothing() == [str(tmp_path / "data")]


def test_pictures_that_cannot_be_drawn_do_not_cost_the_table(demo_of_nothing, monkeypatch, capsys):
    def refuse(cfg):
        raise InputError("Baseline does not give its attention")

    monkeypatch.setattr(demo, "_draw", refuse)
    with pytest.raises(InputError, match="Baseline does not give"):
        demo_of_nothing()
    assert "| trained   |   2.0 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option", [["--eval-only"], ["--report", "r.html"], ["--num-gpus", "2"], ["--num-machines", "2"]]
)
def test_options_that_are_for_another_tool(option):
    with pytest.raises(InputError, match=r"use tools/train_net\.py --config-file"):
        run_demo(argument_parser().parse_args(option))
