import json
from argparse import Namespace
from pathlib import Path

import pytest
from helpers.pretended_runs import COMPLETE, calls, table

from dcal_reid.ablation import group_runs, run_group, runs, variants, with_overrides_apart
from dcal_reid.errors import InputError


def test_variants_are_in_natural_order():
    assert [path.stem for path in variants("fig2_pwca_cub")] == ["t0", "t2", "t4", "t6", "t8", "t10", "t12"]


def test_all_variants_of_a_seed_come_before_the_next_seed(args):
    assert [(run.repetition, run.variant) for run in group_runs(args)] == [
        ("seed 0", "parallel"), ("seed 0", "stacked"), ("seed 1", "parallel"), ("seed 1", "stacked"),
    ]  # fmt: skip


def test_some_variants_of_a_group(args, base):
    args.group, args.variants, args.seeds = "vehicles", ["dcal_noise", "baseline", "baseline"], [3]
    chosen = group_runs(args)
    assert [run.variant for run in chosen] == ["baseline", "dcal_noise"]
    # The variant stays based on one that was not chosen.
    assert chosen[1].cfg.MODEL.DCAL.PWCA.DISTRACTORS == "noise" and chosen[1].cfg.SOLVER.MAX_EPOCH == 1


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


def test_a_value_that_is_given_twice_is_run_once(args):
    args.vary = [["SOLVER.BASE_LR", "0.03", "0.01", "0.03"]]
    names = [f"{config},BASE_LR={rate}" for config in ("parallel", "stacked") for rate in ("0.03", "0.01")]
    assert [run.variant for run in group_runs(args)] == names * len(args.seeds)


# Ten iterations per epoch.
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
    ({"group": "table9"}, r"there is no group 'table9'; choose one of birds, .*, vehicles_slow_heads$"),
    ({"variants": ["stacked", "beside"]}, r"--variants 'beside' is not a variant of glca_input; .* parallel, stacked$"),
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


def apart(seeds=("0",), variants=(), vary=(), folds=(), opts=()):
    given = {"seeds": seeds, "variants": variants, "vary": vary, "folds": folds, "opts": opts}
    found = with_overrides_apart(Namespace(**{name: list(values) for name, values in given.items()}))
    return found.seeds, found.variants, found.vary, found.folds, found.opts


def test_values_of_an_option_end_where_the_overrides_begin():
    assert apart(["0", "2", "0", "SEED", "1"], opts=["SOLVER.OPT", "SGD"]) == (
        [0, 2], [], [], [], ["SEED", "1", "SOLVER.OPT", "SGD"],
    )  # fmt: skip
    rates, paths = ["SOLVER.BASE_LR", "0.1", "0.2"], ["DATASETS.CSV.PATH", "A.CSV", "B.CSV"]
    assert apart(vary=[rates, paths], folds=[paths]) == ([0], [], [rates, paths], [paths], [])
    assert apart(variants=["r010", "r030", "SEED", "1"]) == ([0], ["r010", "r030"], [], [], ["SEED", "1"])
    assert apart(vary=[[*rates, "SOLVER.OPT", "SGD"]], folds=[[*paths, "SEED", "1"]]) == (
        [0], [], [rates], [paths], ["SOLVER.OPT", "SGD", "SEED", "1"],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"--seeds 'SOLVER.MAX_EPOCH' is not a whole number"):
        apart(["SOLVER.MAX_EPOCH", "1"])


def test_metrics_are_in_order_within_each_test_set():
    names = ["A/mAP", "A/Rank-1", "B/mAP", "B/Rank-1"]
    assert runs.ordered(dict.fromkeys(names[::-1], 1.0)) == [(name, 1.0) for name in names]


def test_metrics_of_several_test_sets(args):
    """In the order in which they are shown, without values that are not metrics of the table."""
    run = group_runs(args)[0]
    run.folder.mkdir(parents=True)
    line = {"iteration": 9, "VeRi/Rank-1": 1.0, "VeRi/mAP": 2.0, "VeRi/metric": 3.0, "CSVReID/mAP": 4.0}
    (run.folder / "metrics.json").write_text(json.dumps(line))
    (run.folder / "model_final.pth").touch()
    assert runs.ordered(run.results()) == [("CSVReID/mAP", 4.0), ("VeRi/mAP", 2.0), ("VeRi/Rank-1", 1.0)]


def test_two_values_do_not_share_a_folder(args):
    """A slash in a value is replaced in the name of the folder."""
    args.vary = [["DATASETS.CSV.IMAGE_ROOT", "crops/a", "crops-a"]]
    with pytest.raises(InputError, match=r"--vary .*'crops/a' and 'crops-a' would .* the same folder"):
        group_runs(args)
