import csv
import json
import statistics
from argparse import Namespace
from pathlib import Path

import pytest
from helpers.forks import run_forked
from helpers.pretended_runs import COMPLETE, calls

from dcal_reid.ablation import run_group
from dcal_reid.errors import InputError

TOOL = Path(__file__).parents[2] / "tools" / "ablate.py"


def test_the_tool_trains_compares_and_does_not_run_again_what_is_complete(base, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [TOOL, "glca_input", "--config-file", str(base), "--output", str(tmp_path / "logs")]
    command += ["--seeds", "0", "1", "SOLVER.BASE_LR", "0.02"]
    done = run_forked(command)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "logs" / "glca_input"
    assert "0 of 4 runs are complete\n[1/4] parallel, seed 0: mAP " in done.stdout
    assert "; 3 left, about 0:" in done.stdout and "[4/4] stacked, seed 1: mAP " in done.stdout

    with open(folder / "table.csv") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["parallel", "stacked"]
    for variant, row in rows.items():
        for metric in ("mAP", "Rank-1"):
            values = []
            for seed in (0, 1):
                lines = (folder / variant / f"seed{seed}" / "metrics.json").read_text().splitlines()
                values.append(json.loads(lines[-1])[metric])
                assert float(row[f"{metric} seed {seed}"]) == values[-1]
            assert float(row[metric]) == pytest.approx(statistics.fmean(values))
            assert float(row[f"{metric} std"]) == pytest.approx(statistics.stdev(values))
        assert float(row["mAP std"]) > 0
        config = (folder / variant / "seed1" / "config.yaml").read_text()
        assert "BASE_LR: 0.02" in config and "SEED: 1" in config and f"INPUT: {variant}" in config
        assert 0 < float(row["memory (GiB)"]) < 20
    # Stacked, it needs the last block's patches.
    assert float(rows["stacked"]["operations (1e9)"]) > float(rows["parallel"]["operations (1e9)"])
    written = (folder / "table.md").read_text()
    assert written in done.stdout and "| stacked " in written
    for name in ("plot.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")

    trained = {path: path.stat().st_mtime_ns for path in folder.rglob("model_final.pth")}
    assert len(trained) == 4
    again = run_forked(command)
    assert again.stdout.startswith("4 of 4 runs are complete\n\n") and written in again.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model_final.pth")} == trained


@pytest.mark.parametrize(("change", "message"), [
    ({"jobs": 0}, r"--jobs is 0; give 1 or more"),
    ({"baseline": "fresh"}, r"--baseline 'fresh' is not a variant of glca_input; choose one of parallel, stacked$"),
])  # fmt: skip
def test_wrong_options_are_refused_before_anything_runs(args, pretend, change, message):
    pretend(COMPLETE)
    with pytest.raises(InputError, match=message):
        run_group(Namespace(**vars(args) | change))
    assert not calls(args)
