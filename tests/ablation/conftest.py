import csv
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from dcal_reid.ablation import runs


@pytest.fixture
def base(tiny_cfg, tmp_path, monkeypatch):
    """A config file: one epoch of a three-block ViT on the CPU, on similar images of 3 identities to train on and 8 to
    find."""
    rng = np.random.default_rng(0)
    rows = [("path", "identity", "camera", "split")]
    for identity in range(11):
        colour = rng.integers(120, 136, 3)
        for shot in range(4):
            image = np.clip(colour + rng.normal(0, 30, (64, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / f"{identity}_{shot}.png")
            split = "train" if identity < 3 else ("gallery" if shot else "query")
            rows.append((f"{identity}_{shot}.png", identity, shot % 2, split))
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg = tiny_cfg
    cfg.MODEL.HEADS.NUM_CLASSES = 0
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("CSVReID",)
    cfg.DATASETS.CSV.PATH = "labels.csv"
    cfg.DATALOADER.NUM_INSTANCE, cfg.DATALOADER.NUM_WORKERS = 2, 0
    cfg.SOLVER.OPT, cfg.SOLVER.SCHED, cfg.SOLVER.BASE_LR = "SGD", "CosineAnnealingLR", 0.01
    cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 1, 4, 0
    cfg.SOLVER.LOG_PERIOD, cfg.TEST.EVAL_PERIOD, cfg.TEST.IMS_PER_BATCH = 1, 1, 8
    path = tmp_path / "base.yml"
    path.write_text(cfg.dump())
    return path


@pytest.fixture
def args(base, tmp_path):
    return Namespace(
        group="glca_input",
        variants=[],
        seeds=[0, 1],
        config_file=str(base),
        output=str(tmp_path / "logs"),
        vary=[],
        folds=[],
        jobs=1,
        baseline="",
        num_gpus=1,
        opts=[],
    )


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Make each run call a script instead of training. The script can use ``folder``, ``metrics(**line)`` and
    ``final()``."""
    head = (
        "import json, os, signal, sys, time\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[-1])\n"
        "def metrics(**line): open(folder / 'metrics.json', 'a').write(json.dumps(line) + '\\n')\n"
        "def final(): (folder / 'model_final.pth').touch()\n"
        "(folder / 'calls').open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    )

    def set_script(body):
        path = tmp_path / "pretend.py"
        path.write_text(head + body)
        monkeypatch.setattr(runs, "_TRAIN", path)

    return set_script
