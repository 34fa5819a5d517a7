import runpy
from pathlib import Path

import pytest

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "ablate.py"))


def parse(*words):
    return TOOL["parser"]().parse_intermixed_args(words)


def test_the_group_is_run_with_what_was_given(monkeypatch):
    given = []
    monkeypatch.setitem(TOOL["run"].__globals__, "run_group", given.append)
    options = ["--seeds", "0", "2", "--jobs", "4", "--output", "logs/a", "--config-file", "a.yml", "--baseline", "sa"]
    options += ["--variants", "sa", "glca"]
    varied = ["--vary", "SOLVER.BASE_LR", "0.1", "0.2", "--vary", "SOLVER.OPT", "SGD"]
    TOOL["run"](
        parse(
            "table3_cub", *options, *varied, "--folds", "DATASETS.CSV.PATH", "1.csv", "2.csv", "SOLVER.MAX_EPOCH", "9"
        )
    )
    TOOL["run"](parse("table3_cub"))
    assert [vars(args) for args in given] == [
        {
            "group": "table3_cub",
            "variants": ["sa", "glca"],
            "seeds": [0, 2],
            "config_file": "a.yml",
            "output": "logs/a",
            "vary": [["SOLVER.BASE_LR", "0.1", "0.2"], ["SOLVER.OPT", "SGD"]],
            "folds": [["DATASETS.CSV.PATH", "1.csv", "2.csv"]],
            "baseline": "sa",
            "jobs": 4,
            "num_gpus": 1,
            "opts": ["SOLVER.MAX_EPOCH", "9"],
        },
        {
            "group": "table3_cub",
            "variants": [],
            "seeds": [0],
            "config_file": "",
            "output": "logs/ablation",
            "vary": [],
            "folds": [],
            "baseline": "",
            "jobs": 1,
            "num_gpus": 1,
            "opts": [],
        },
    ]


def test_help(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        parse("--help")
    assert "--seeds SEED [SEED ...]" in capsys.readouterr().out
