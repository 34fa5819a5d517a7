from pathlib import Path

import pytest
from helpers.runs import command, start_forked

from dcal_reid.engine import argument_parser, evaluate, main, train
from dcal_reid.engine.job import results_table
from dcal_reid.errors import InputError


def test_train_then_evaluate(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    Path(run_cfg.OUTPUT_DIR).mkdir()
    results = train(run_cfg)
    run_cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    run_cfg.freeze()
    assert evaluate(run_cfg) == results
    assert run_cfg.MODEL.HEADS.NUM_CLASSES == 0


def test_a_start_that_fails_leaves_a_complete_run_as_it_is(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 2
    folder = Path(run_cfg.OUTPUT_DIR)
    folder.mkdir()
    train(run_cfg)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert folder / "config.yaml" in before
    for key, value, words in (
        ("MODEL.DCAL.GLCA.NUM_BLOCKS", 2, "does not fit the model"),
        ("DATASETS.TESTS", ("CSVReIDD",), "did you mean CSVReID"),
        ("DATASETS.CSV.QUERY_SPLITS", ("nowhere",), "nowhere"),
        ("SOLVER.MAX_EPOCH", 1, r"MAX_EPOCH is 1, but the run in .* has 2 epochs"),
    ):
        cfg = run_cfg.clone()
        cfg.merge_from_list([key, value])
        with pytest.raises(InputError, match=words):
            train(cfg, resume=True)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_an_evaluation_is_not_resumed(run_cfg):
    run_cfg.SOLVER.MAX_EPOCH = 1
    with pytest.raises(InputError, match=r"to evaluate a run, give --eval-only MODEL\.WEIGHTS"):
        main(argument_parser().parse_args(command(run_cfg, "--eval-only", "--resume")[2:]))
    assert not Path(run_cfg.OUTPUT_DIR).exists()


def test_without_weights_the_backbone_is_evaluated_as_it_starts(run_cfg):
    assert set(evaluate(run_cfg)) >= {"Rank-1", "mAP", "mINP"}


def test_a_resumed_run_and_an_evaluation_do_not_need_the_pretrained_weights(run_cfg, tmp_path):
    run_cfg.SOLVER.MAX_EPOCH = 1
    Path(run_cfg.OUTPUT_DIR).mkdir()
    run_cfg.freeze()
    results = train(run_cfg)
    cfg = run_cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, str(tmp_path / "gone.pth")
    assert train(cfg, resume=True) == results
    cfg.MODEL.WEIGHTS = str(Path(run_cfg.OUTPUT_DIR, "model_final.pth"))
    assert evaluate(cfg) == results


def test_a_report_of_an_evaluation(run_folder, run_cfg, tmp_path, capsys):
    def evaluate_with(*arguments):
        main(argument_parser().parse_args(command(run_cfg, *arguments)[2:]))

    report, weights = tmp_path / "report.html", ("MODEL.WEIGHTS", str(run_folder / "model_final.pth"))
    evaluate_with("--eval-only", *weights)
    expected = table(capsys.readouterr().out)
    evaluate_with("--eval-only", "--report", str(report), *weights, "TEST.SAVE_FEATURES", "True")
    assert table(capsys.readouterr().out) == expected and "Hardest queries" in report.read_text()
    # An evaluation with a report leaves the same files as one without.
    assert (run_folder / "features" / "CSVReID" / "features.npz").is_file()
    with pytest.raises(InputError, match=r"cannot be written to 'report\.txt'"):
        evaluate_with("--eval-only", "--report", "report.txt", *weights)
    for arguments in (("--report", "a.html"), ("--eval-only", "--report", "a.html", "DATASETS.TESTS", "('A', 'B')")):
        with pytest.raises(InputError, match=r"'a\.html' needs an evaluation: give --eval-only, with one data set"):
            evaluate_with(*arguments)


def test_a_report_of_an_evaluation_in_two_processes(run_folder, run_cfg, tmp_path):
    report, weights = tmp_path / "report.html", ("MODEL.WEIGHTS", str(run_folder / "model_final.pth"))
    result = start_forked(run_cfg, "--eval-only", "--report", str(report), *weights, processes=2)
    assert not result.returncode and "Results" in result.stdout, result.stderr
    assert "Hardest queries" in report.read_text()


def test_the_papers_figures_stand_below_the_results(run_folder, run_cfg, tmp_path, capsys):
    config = tmp_path / "aims.yml"
    config.write_text("# A small model. Table 2 of the paper: mAP 80.2, rank-1 96.9.\n" + run_cfg.dump())
    weights = ("MODEL.WEIGHTS", str(run_folder / "model_final.pth"))
    main(argument_parser().parse_args(["--config-file", str(config), "--eval-only", *weights]))
    output = capsys.readouterr().out
    names, _, _, paper = (line.split("|")[1:-1] for line in output[output.rindex("Results") :].splitlines()[1:5])
    figures = dict(zip((name.strip() for name in names), (cell.strip() for cell in paper), strict=True))
    assert {name: figures[name] for name in ("", "mAP", "Rank-1", "mINP")} == {
        "": "paper", "mAP": "80.2", "Rank-1": "96.9", "mINP": "",
    }  # fmt: skip
    # With re-ranking, the test is not the paper's.
    rerank = ("TEST.RERANK.ENABLED", "True")
    main(argument_parser().parse_args(["--config-file", str(config), "--eval-only", *weights, *rerank]))
    output = capsys.readouterr().out
    assert "paper" not in output[output.rindex("Results") :]


def table(output):
    return output[output.rindex("Results") :].splitlines()[1:4]


def test_too_few_classes_are_refused(run_cfg):
    run_cfg.MODEL.HEADS.NUM_CLASSES = 5
    with pytest.raises(InputError, match="there are 6 training identities"):
        train(run_cfg)


def test_the_table():
    rows = {"untrained": {"Rank-1": 5.0, "mAP": 12.345, "metric": 8.0}, "trained": {"Rank-1": 50.0, "mAP": 60.0}}
    assert results_table(rows).splitlines()[2:] == [
        "| untrained |      5.0 |  12.3 |",
        "| trained   |     50.0 |  60.0 |",
    ]


def test_a_run_that_was_moved_is_not_begun_anew_in_the_old_place(run_folder, run_cfg, tmp_path):
    (run_folder / "last_checkpoint").write_text("model_final.pth")
    moved = run_folder.rename(tmp_path / "moved")
    config = ["--config-file", str(moved / "config.yaml")]
    with pytest.raises(InputError, match=r"the run of '.*config\.yaml' is in '.*moved', .* add OUTPUT_DIR .*moved$"):
        main(argument_parser().parse_args([*config, "--resume"]))
    assert not run_folder.exists()


def test_an_evaluation_with_the_configuration_of_a_run_names_its_checkpoint(run_folder, capsys):
    """The configuration of a fine-tuned run names the weights that it started from."""
    (run_folder / "last_checkpoint").write_text("model_final.pth")
    evaluation = ["--config-file", str(run_folder / "config.yaml"), "--eval-only"]
    with pytest.raises(InputError, match=r"add the checkpoint to evaluate, .* MODEL\.WEIGHTS .*model_final\.pth$"):
        main(argument_parser().parse_args(evaluation))
    main(argument_parser().parse_args([*evaluation, "MODEL.WEIGHTS", str(run_folder / "model_final.pth")]))
    assert "Results" in capsys.readouterr().out
