import sys

import pytest
import timm
from helpers.pretended_runs import COMPLETE, calls, table
from scipy import stats

from dcal_reid.ablation import cost, group_runs, report, run_group, train_unfinished


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


def test_differences_are_paired_by_seed(args, pretend):
    """The interval equals scipy's own for one sample. A seed counts only if both variants have a result for it."""
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
    """One row for all folds, and each fold is compared with the baseline on the same fold."""
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
    assert "The difference is from parallel,BASE_LR=0.2 with the same seed" in capsys.readouterr().out
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
    """If the data set is the paper's."""
    pretend("for number in range(6): metrics(iteration=19 + 20 * number, mAP=50.0, **{'Rank-1': 60.0})\nfinal()\n")
    args.group, args.seeds = "table3_veri", [0]
    assert not any(run.published for run in group_runs(args))
    args.config_file = ""
    # ViT-B is not built, because its cost is not asked for.
    monkeypatch.setattr(sys.modules[report.__module__], "cost", lambda cfg: None)
    # There are no images of VeRi-776 either.
    monkeypatch.setattr(sys.modules[train_unfinished.__module__], "load_dataset", lambda name, cfg: None)
    run_group(args)
    row = table(args)["dcal"]
    assert (row["mAP paper"], row["Rank-1 paper"]) == ("80.2", "96.9")


def test_cost(args):
    """Against timm's own model: GLCA adds one block, one norm and one BNNeck."""
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


@pytest.mark.parametrize("baseline", ["parallel", ""])
def test_nothing_is_said_of_what_is_not_in_the_table(args, pretend, capsys, baseline):
    """No run of one variant finished, so there is no best of several and no difference."""
    pretend("if 'parallel' in str(folder): sys.exit(1)\n" + COMPLETE)
    args.baseline = baseline
    with pytest.raises(SystemExit):
        run_group(args)
    out = capsys.readouterr().out
    assert "| stacked " in out and "50.50" in out
    assert "The best of each" not in out and "The difference" not in out
    assert table(args)["parallel"]["mAP"] == "" and "mAP difference" not in table(args)["stacked"]


def test_a_cost_is_that_of_the_configuration_and_leaves_it_as_it_is(args, tmp_path):
    """It needs neither the configuration's weights nor its GPU."""
    cfg = group_runs(args)[0].cfg.clone()
    expected = cost(cfg)
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, str(tmp_path / "none.pth")
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = "cuda", 5000
    cfg.freeze()
    before = cfg.dump()
    assert cost(cfg) == expected and cfg.dump() == before
