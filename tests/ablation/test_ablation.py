import csv
import json
import os
import signal
import statistics
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import timm
from forks import run_forked
from PIL import Image
from scipy import stats

from dcal_reid.ablation import (
    cost,
    group_runs,
    report,
    run_group,
    runs,
    train_unfinished,
    variants,
    with_overrides_apart,
)
from dcal_reid.errors import InputError

TOOL = Path(__file__).parents[2] / "tools" / "ablate.py"


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
    """Has each run call a script in place of training. It finds ``folder``, ``metrics(**line)`` and ``final()``."""
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


COMPLETE = "metrics(iteration=9, mAP=50.0 + int(sys.argv[-3])); final()\n"


def calls(args):
    """How often each run was called, by its folder."""
    folder = Path(args.output, args.group)
    return {str(p.parent.relative_to(folder)): len(p.read_text().splitlines()) for p in folder.rglob("calls")}


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


def test_a_failed_run_is_told_and_the_others_go_on(args, pretend, capsys):
    pretend(
        "if 'stacked' in str(folder) and sys.argv[-3] == '0': sys.exit('first\\nerror: no such file')\n" + COMPLETE,
    )
    with pytest.raises(SystemExit) as stop:
        run_group(args)
    assert stop.value.code == 1
    out = capsys.readouterr().out
    log = Path(args.output, "glca_input", "stacked", "seed0", "console.txt")
    assert f"[2/4] stacked, seed 0: FAILED with status 1, see {log}: error: no such file  in 0:00:0" in out
    assert log.read_text() == "first\nerror: no such file\n"
    rows = [[cell.strip() for cell in line.split("|")[1:6]] for line in out.splitlines() if line.startswith("| ")]
    assert rows[1:] == [["parallel", "50.50", "0.71", "50.00", "51.00"], ["stacked", "51.00", "-", "-", "51.00"]]

    pretend(COMPLETE)
    run_group(args)
    assert "3 of 4 runs are complete\n[1/1] stacked, seed 0: mAP 50.0" in capsys.readouterr().out
    assert calls(args) == {"parallel/seed0": 1, "parallel/seed1": 1, "stacked/seed0": 2, "stacked/seed1": 1}


def test_every_run_may_resume_and_has_its_seed_and_folder(args, pretend):
    pretend(COMPLETE)
    args.opts = ["SOLVER.BASE_LR", "0.03"]
    run_group(args)
    folder = Path(args.output, "glca_input")
    (call,) = (folder / "stacked" / "seed1" / "calls").read_text().splitlines()
    assert call == (
        f"--config-file {folder}/configs/stacked.yml --resume --num-gpus 1 "
        f"SOLVER.BASE_LR 0.03 SEED 1 OUTPUT_DIR {folder}/stacked/seed1"
    )


def test_a_run_without_the_metrics_of_its_end_has_failed(args, pretend, capsys):
    pretend("final()\n")
    with pytest.raises(SystemExit):
        run_group(args)
    out = capsys.readouterr().out
    assert out.count("FAILED, no metrics of the last epoch; remove ") == 4
    assert "no run is complete, so there is no table" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_it_was_saved(args, pretend, capsys, request, number):
    """It reaches the parent alone; the run must not live on."""
    # A background job of a shell starts with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    pretend(
        "if 'stacked' in str(folder):\n"
        "    def save(number, frame):\n"
        "        time.sleep(1)\n"
        "        (folder / 'saved').touch()\n"
        "        sys.exit(128 + number)\n"
        "    signal.signal(signal.SIGTERM, save)\n"
        f"    os.kill(os.getppid(), {int(number)})\n"
        "    time.sleep(60)\n" + COMPLETE
    )
    with pytest.raises(SystemExit) as stop:
        run_group(args)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "\nstopped; the same command goes on from there\n"
    assert Path(args.output, "glca_input", "stacked", "seed0", "saved").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    pretend(COMPLETE)
    run_group(args)
    assert calls(args) == {"parallel/seed0": 1, "parallel/seed1": 1, "stacked/seed0": 2, "stacked/seed1": 1}


def test_a_run_that_does_not_end_is_killed(args, pretend, monkeypatch):
    monkeypatch.setattr("dcal_reid.ablation.training._PATIENCE", 0.5)
    pretend(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "(folder / 'pid').write_text(str(os.getpid()))\n"
        f"os.kill(os.getppid(), {int(signal.SIGTERM)})\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(SystemExit):
        run_group(args)
    [pid] = [int(path.read_text()) for path in Path(args.output).rglob("pid")]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# Ten iterations an epoch.
@pytest.mark.parametrize(("epochs", "period", "lines", "expected"), [
    (3, 1, [9, 19, 29], 29), (3, 1, [9, 19], None), (3, 2, [19, 29], 29), (3, 2, [19], None),
    (3, 0, [29], 29), (3, 5, [29], 29), (1, 1, [9], 9), (3, 1, [], None),
])  # fmt: skip
def test_complete_is_what_was_evaluated_after_its_last_epoch(args, epochs, period, lines, expected):
    args.opts = ["SOLVER.MAX_EPOCH", str(epochs), "TEST.EVAL_PERIOD", str(period)]
    run = group_runs(args)[0]
    run.folder.mkdir(parents=True)
    text = '{"iteration": 2, "ti\n' + "".join(json.dumps({"iteration": 3, "time": t}) + "\n" for t in (9.0, 0.5, 0.4))
    text += "".join(json.dumps({"iteration": i, "Rank-1": i, "Rank-5": 80.0, "sa/ce": 1.0}) + "\n" for i in lines)
    (run.folder / "metrics.json").write_text(text + '{"iteration": 33, "Rank')
    assert run.results() is None
    (run.folder / "model_final.pth").touch()
    assert run.results() == (expected and {"Rank-1": expected})
    assert run.curve("Rank-1") == [((i + 1) / (lines[-1] + 1), i) for i in lines]
    assert run.step_time() == 0.5 and run.peak_memory() is None
    (run.folder / "log.txt").write_text("mem 1.2 GiB\neta 0:00:02  mem 1.3 GiB\neta 0:00:01  mem 1.1 GiB\n")
    assert run.peak_memory() == 1.3


def test_a_run_of_another_configuration_is_not_taken_for_this_one(args):
    run = group_runs(args)[0]
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text(run.cfg.dump())
    args.opts = ["SOLVER.BASE_LR", "0.5"]
    group_runs(args)  # it has trained nothing yet
    (run.folder / "last_checkpoint").write_text("model_last.pth")
    with pytest.raises(InputError, match=r"seed0 has SOLVER.BASE_LR 0.01, not 0.5; use another --output"):
        group_runs(args)
    args.opts = ["DATALOADER.NUM_WORKERS", "1"]
    group_runs(args)


def test_what_is_complete_in_another_group_is_not_run_again(args, pretend, capsys):
    """glca_init's copy is glca_input's parallel."""
    pretend(COMPLETE)
    run_group(args)
    for run in group_runs(args):
        (run.folder / "config.yaml").write_text(run.cfg.dump())
    outdated = Path(args.output, "glca_ratio", "r010", "seed0", "config.yaml")
    outdated.parent.mkdir(parents=True)
    outdated.write_text("MODEL: {A_KEY_OF_BEFORE: 1}")
    args.group = "glca_init"
    run_group(args)
    assert calls(args) == {"fresh/seed0": 1, "fresh/seed1": 1}
    assert "2 of 4 runs are complete" in capsys.readouterr().out
    assert [row["mAP seed 1"] for row in table(args).values()] == ["51.0", "51.0"]
    args.opts = ["SOLVER.BASE_LR", "0.5"]
    args.group = "glca_readout"
    assert all("glca_readout" in str(run.folder) for run in group_runs(args))


@pytest.mark.parametrize(("change", "message"), [
    ({"group": "table9"}, r"there is no group 'table9'; choose one of birds, .*, vehicles_sgd$"),
    ({"config_file": "none.yml"}, r"--config-file 'none.yml' not found"),
    ({"opts": ["SOLVER.BASE_LRS", "1"]}, r"there is no key SOLVER.BASE_LRS; did you mean SOLVER.BASE_LR"),
    ({"opts": ["MODEL.DCAL.INFERENCE", "both"]}, r"MODEL.DCAL.INFERENCE is 'both'; choose one of"),
    ({"opts": ["SEED", "1"]}, r"SEED is among the overrides; use --seeds"),
    ({"vary": [["SOLVER.BASE_LR"]]}, r"--vary SOLVER.BASE_LR has no values"),
    ({"vary": [["SOLVER.BASE_LR", "1."], ["SOLVER.BASE_LR", "2."]]}, r"--vary SOLVER.BASE_LR: .* is given twice"),
    ({"vary": [["SOLVER.BASE_LR", "1."]], "opts": ["SOLVER.BASE_LR", "2."]}, r"SOLVER.BASE_LR is given twice"),
    ({"vary": [["SOLVER.BASE_LR", "much"]]}, r"SOLVER.BASE_LR"),
    ({"folds": [["DATASETS.CSV.PATH"]]}, r"--folds DATASETS.CSV.PATH has no values"),
    ({"vary": [["SOLVER.BASE_LR", "1."]], "folds": [["SOLVER.BASE_LR", "2."]]}, r"SOLVER.BASE_LR is given to --vary"),
])  # fmt: skip
def test_wrong_input_is_refused_before_anything_runs(args, change, message):
    with pytest.raises(InputError, match=message):
        group_runs(Namespace(**vars(args) | change))


@pytest.mark.parametrize(("change", "message"), [
    ({"jobs": 0}, r"--jobs is 0; give 1 or more"),
    ({"baseline": "fresh"}, r"--baseline 'fresh' is no variant of glca_input; choose one of parallel, stacked$"),
])  # fmt: skip
def test_wrong_options_are_refused_before_anything_runs(args, pretend, change, message):
    pretend(COMPLETE)
    with pytest.raises(InputError, match=message):
        run_group(Namespace(**vars(args) | change))
    assert not calls(args)


def test_a_missing_data_set_is_told_once_before_anything_runs(args, pretend, tmp_path):
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"labels\.csv.* not found; DATASETS.CSV.PATH"):
        run_group(args)
    assert not list(tmp_path.glob("logs/**/console.txt"))


def test_jobs_run_side_by_side(args, pretend, capsys):
    """The second run writes what the first waits for."""
    pretend(
        "other = folder.parents[1] / 'stacked' / 'seed0' / 'here'\n"
        "if 'stacked' in str(folder): (folder / 'here').touch()\n"
        "if 'parallel/seed0' in str(folder):\n"
        "    while not other.is_file(): time.sleep(0.01)\n"
        "    time.sleep(0.2)\n" + COMPLETE
    )
    args.jobs = 2
    run_group(args)
    out = capsys.readouterr().out
    assert out.startswith("0 of 4 runs are complete\n[1/4] stacked, seed 0: mAP 50.0") and "[4/4]" in out
    assert calls(args) == dict.fromkeys(("parallel/seed0", "parallel/seed1", "stacked/seed0", "stacked/seed1"), 1)


def table(args):
    with open(Path(args.output, args.group, "table.csv")) as file:
        return {row["variant"]: row for row in csv.DictReader(file)}


def test_what_is_varied_is_run_in_every_combination_and_the_best_is_named(args, pretend, capsys):
    pretend("rate = dict(zip(sys.argv[6::2], sys.argv[7::2]))\nmAP = float(rate['SOLVER.BASE_LR']) * 1000\n"
            "metrics(iteration=9, mAP=mAP - ('stacked' in str(folder))); final()\n")  # fmt: skip
    args.vary = [["SOLVER.BASE_LR", "0.03", "0.01"], ["SOLVER.MOMENTUM", "0.8", "0.9"]]
    args.seeds = [4]
    run_group(args)
    settings = [f"BASE_LR={rate},MOMENTUM={momentum}" for rate in ("0.03", "0.01") for momentum in ("0.8", "0.9")]
    rows = table(args)
    assert list(rows) == [f"{config},{setting}" for config in ("parallel", "stacked") for setting in settings]
    assert rows["stacked,BASE_LR=0.03,MOMENTUM=0.9"]["mAP"] == "29.0"
    best = capsys.readouterr().out.partition("The best of each by mAP:")[2]
    found = [line.split("|")[1].strip() for line in best.splitlines() if "BASE_LR" in line]
    assert found == ["parallel,BASE_LR=0.03,MOMENTUM=0.8", "stacked,BASE_LR=0.03,MOMENTUM=0.8"]
    cfg = group_runs(args)[3].cfg
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MOMENTUM) == (0.01, 0.9)


def test_a_value_that_is_given_twice_is_run_once(args):
    args.vary = [["SOLVER.BASE_LR", "0.03", "0.01", "0.03"]]
    names = [f"{config},BASE_LR={rate}" for config in ("parallel", "stacked") for rate in ("0.03", "0.01")]
    assert [run.variant for run in group_runs(args)] == names * len(args.seeds)


def test_differences_are_paired_by_seed(args, pretend):
    """The interval against scipy's own for one sample. A seed of which one of the two has no result does not count."""
    values = {"parallel": [50.0, None, 60.0, 55.0], "stacked": [53.0, 70.0, 61.0, 60.0]}
    pretend(f"mAP = {values}[folder.parent.name][int(sys.argv[-3])]\n"
            "metrics(iteration=9, mAP=mAP) if mAP else sys.exit(1); final()\n")  # fmt: skip
    args.seeds, args.baseline = [0, 1, 2, 3], "parallel"
    with pytest.raises(SystemExit):
        run_group(args)
    rows = table(args)
    assert rows["parallel"]["mAP difference"] == rows["parallel"]["mAP from"] == ""
    interval = stats.ttest_1samp([3.0, 1.0, 5.0], 0.0).confidence_interval(0.95)
    found = [float(rows["stacked"][f"mAP {name}"]) for name in ("difference", "from", "to")]
    assert found == pytest.approx([3.0, interval.low, interval.high])


def test_folds_are_repetitions_as_seeds_are(args, pretend, tmp_path):
    """One row for all of them, and each is compared with the baseline on the same."""
    values = {("parallel", "a"): 50.0, ("parallel", "b"): 70.0, ("stacked", "a"): 53.0, ("stacked", "b"): 71.0}
    pretend(f"values = {values}\nname, fold = folder.parent.name, Path(sys.argv[-5]).stem\n"
            "metrics(iteration=9, mAP=values[name, fold] + int(sys.argv[-3])); final()\n")  # fmt: skip
    (tmp_path / "folds").mkdir()
    for fold in ("a", "b"):
        (tmp_path / "folds" / f"{fold}.csv").write_text((tmp_path / "labels.csv").read_text())
    args.folds = [["DATASETS.CSV.PATH", "folds/a.csv", "folds/b.csv"]]
    args.opts = ["DATASETS.CSV.IMAGE_ROOT", str(tmp_path)]
    args.baseline = "parallel"
    run_group(args)
    rows = table(args)
    assert list(rows) == ["parallel", "stacked"]
    found = [float(rows["stacked"][f"mAP seed {seed}, PATH=folds-{fold}.csv"]) for seed in (0, 1) for fold in "ab"]
    assert found == [53.0, 71.0, 54.0, 72.0] and float(rows["stacked"]["mAP"]) == 62.5
    interval = stats.ttest_1samp([3.0, 1.0, 3.0, 1.0], 0.0).confidence_interval(0.95)
    found = [float(rows["stacked"][f"mAP {name}"]) for name in ("difference", "from", "to")]
    assert found == pytest.approx([2.0, interval.low, interval.high])
    assert calls(args)["stacked/seed1,PATH=folds-b.csv"] == 1 and len(calls(args)) == 8


def test_what_is_varied_is_compared_with_the_baselines_best(args, pretend, capsys):
    values = {("parallel", "0.1"): 50.0, ("parallel", "0.2"): 60.0, ("stacked", "0.1"): 62.0, ("stacked", "0.2"): 40.0}
    pretend(f"name, _, rate = folder.parent.name.partition(',BASE_LR=')\n"
            "by_seed = [30.0, -30.0][int(sys.argv[-3])] if rate == '0.1' else 0.0\n"
            f"metrics(iteration=9, mAP={values}[name, rate] + by_seed); final()\n")  # fmt: skip
    args.vary, args.seeds, args.baseline = [["SOLVER.BASE_LR", "0.1", "0.2"]], [0, 1], "parallel"
    run_group(args)
    assert "The difference is to parallel,BASE_LR=0.2 with the same seed" in capsys.readouterr().out
    assert [row["mAP difference"] for row in table(args).values()] == ["-10.0", "", "2.0", "-20.0"]
    args.baseline = "stacked,BASE_LR=0.2"
    run_group(args)
    assert [row["mAP difference"] for row in table(args).values()] == ["10.0", "20.0", "22.0", ""]


def test_what_training_costs_is_told_of_all_runs(args, pretend):
    pretend("seed = int(sys.argv[-3])\n(folder / 'log.txt').write_text(f'  mem {[1.5, 3.5, 2.5][seed]} GiB')\n"
            "metrics(iteration=9, mAP=50.0, time=[0.1, 0.9, 0.2][seed]); final()\n")  # fmt: skip
    args.seeds = [0, 1, 2]
    run_group(args)
    row = table(args)["stacked"]
    assert (row["step (s)"], row["memory (GiB)"]) == ("0.2", "3.5")


def test_the_papers_figures_stand_beside(args, pretend, monkeypatch):
    """Where the data set is the paper's."""
    pretend("for number in range(6): metrics(iteration=19 + 20 * number, mAP=50.0, **{'Rank-1': 60.0})\nfinal()\n")
    args.group, args.seeds = "table3_veri", [0]
    assert not any(run.published for run in group_runs(args))
    args.config_file = ""
    # ViT-B is not built: what it costs is not asked.
    monkeypatch.setattr(sys.modules[report.__module__], "cost", lambda cfg: None)
    # Nor are there images of VeRi-776.
    monkeypatch.setattr(sys.modules[train_unfinished.__module__], "load_dataset", lambda name, cfg: None)
    run_group(args)
    row = table(args)["dcal"]
    assert (row["mAP paper"], row["Rank-1 paper"]) == ("80.2", "96.9")


def apart(seeds=("0",), vary=(), folds=(), opts=()):
    found = with_overrides_apart(Namespace(seeds=list(seeds), vary=list(vary), folds=list(folds), opts=list(opts)))
    return found.seeds, found.vary, found.folds, found.opts


def test_values_of_an_option_end_where_the_overrides_begin():
    assert apart(["0", "2", "0", "SEED", "1"], opts=["SOLVER.OPT", "SGD"]) == (
        [0, 2], [], [], ["SEED", "1", "SOLVER.OPT", "SGD"],
    )  # fmt: skip
    rates, paths = ["SOLVER.BASE_LR", "0.1", "0.2"], ["DATASETS.CSV.PATH", "A.CSV", "B.CSV"]
    assert apart(vary=[rates, paths], folds=[paths]) == ([0], [rates, paths], [paths], [])
    assert apart(vary=[[*rates, "SOLVER.OPT", "SGD"]], folds=[[*paths, "SEED", "1"]]) == (
        [0], [rates], [paths], ["SOLVER.OPT", "SGD", "SEED", "1"],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"--seeds 'SOLVER.MAX_EPOCH' is not a whole number"):
        apart(["SOLVER.MAX_EPOCH", "1"])


def test_metrics_are_in_order_within_each_test_set():
    names = ["A/mAP", "A/Rank-1", "B/mAP", "B/Rank-1"]
    assert runs.ordered(dict.fromkeys(names[::-1], 1.0)) == [(name, 1.0) for name in names]


def test_variants_are_in_natural_order():
    assert [path.stem for path in variants("fig2_pwca_cub")] == ["t0", "t2", "t4", "t6", "t8", "t10", "t12"]


def test_all_variants_of_a_seed_come_before_the_next_seed(args):
    assert [(run.repetition, run.variant) for run in group_runs(args)] == [
        ("seed 0", "parallel"), ("seed 0", "stacked"), ("seed 1", "parallel"), ("seed 1", "stacked"),
    ]  # fmt: skip


def test_cost(args):
    """Against timm's own model: GLCA is one block, one norm and one BNNeck more."""
    args.group = "table3_cub"
    costs = {run.variant: cost(run.cfg) for run in group_runs(args)}
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=(64, 32), depth=3, embed_dim=48, num_heads=3, num_classes=0
    )
    block, neck = sum(p.numel() for p in vit.blocks[0].parameters()) + 2 * 48, 48
    plain = sum(p.numel() for p in vit.parameters()) + neck
    assert costs["baseline"].training_parameters == costs["baseline"].inference_parameters == plain
    assert costs["pwca"].inference_parameters == plain
    assert costs["glca"].inference_parameters == costs["dcal"].inference_parameters == plain + block + neck
    # The learned weights of the losses.
    assert costs["dcal"].training_parameters == plain + block + neck + 3
    assert costs["baseline"].operations == costs["pwca"].operations < costs["dcal"].operations


def test_cost_of_inference_without_glca_is_the_baselines(args):
    args.group = "inference"
    without = {run.variant: run.cfg for run in group_runs(args)}["sa"]
    args.group = "table3_cub"
    plain = {run.variant: run.cfg for run in group_runs(args)}["baseline"]
    assert cost(without).inference_parameters == cost(plain).inference_parameters
    assert cost(without).operations == cost(plain).operations
