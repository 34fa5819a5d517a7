import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("config", "pictures"),
    [
        ("dcal", {"rank_lists.png", "attention.png"}),
        ("dcal_fgvc", {"predictions.png", "attention.png", "evaluation/DemoFGVC/confusion.png"}),
    ],
)
def test_the_demo_ends_with_a_table_and_pictures(tmp_path, config, pictures):
    """One epoch, so that it takes seconds; what it learns in full is in the README."""
    overrides = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_ITERS", "1", "OUTPUT_DIR", str(tmp_path / "run")]
    result = subprocess.run(
        [sys.executable, "tools/demo.py", "--config-file", f"configs/demo/{config}.yml", *overrides],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"FASTREID_DATASETS": str(tmp_path / "data")},
    )
    assert result.returncode == 0, result.stderr
    table = result.stdout[result.stdout.rindex("untrained and trained") :]
    assert "| untrained |" in table and "| trained" in table
    left = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")}
    expected = {"model_final.pth", "model_best.pth", "metrics.json", "config.yaml", "log.txt"}
    assert left >= expected | pictures
    assert any(name.startswith("events.out.tfevents") for name in left)
