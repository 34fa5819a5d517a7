import argparse
from itertools import takewhile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid import Predictor
from dcal_reid.engine.arguments import add_model_arguments, images_and_overrides, predictor_from, values_and_rest
from dcal_reid.errors import InputError


def parse(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", nargs="*")
    add_model_arguments(parser)
    return parser.parse_intermixed_args([str(word) for word in words])


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["a", "b", "KEY"]), max_size=5))
def test_values_end_at_the_first_word_that_is_none(words):
    values, rest = values_and_rest(tuple(words), "KEY".__eq__)
    assert values == list(takewhile(lambda word: word != "KEY", words))
    assert values + rest == words


def test_overrides_begin_with_a_key_of_the_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert images_and_overrides(["a.jpg", "B.JPG"]) == (["a.jpg", "B.JPG"], [])
    assert images_and_overrides(["a.jpg", "TEST.FLIP.ENABLED", "True"]) == (["a.jpg"], ["TEST.FLIP.ENABLED", "True"])
    Path("TEST.jpg").touch()
    assert images_and_overrides(["TEST.jpg", "TEST.METRIC", "x"]) == (["TEST.jpg"], ["TEST.METRIC", "x"])


def test_without_arguments_everything_comes_with_the_weights():
    assert vars(parse()) == {"images": None, "weights": "", "config_file": "", "device": "auto", "opts": []}


def test_the_model_is_the_one_that_was_named(run_folder, crops):
    """Its configuration has the overrides, wherever they are on the command line."""
    weights = run_folder / "model_final.pth"
    args = parse("TEST.IMS_PER_BATCH", "3", "--weights", weights, "--device", "cpu", "MODEL.DCAL.INFERENCE", "sa")
    found, image = predictor_from(args), crops / "0_0_0.png"
    assert found.cfg.TEST.IMS_PER_BATCH == 3 and found.cfg.MODEL.DEVICE == "cpu"
    # The first half of both branches' features, which differ in length.
    expected = Predictor(weights, device="cpu")(image)[..., :48]
    torch.testing.assert_close(*(torch.nn.functional.normalize(one, dim=-1) for one in (found(image), expected)))


def test_a_configuration_of_its_own_is_taken(run_folder, run_cfg, tmp_path):
    config = tmp_path / "other.yml"
    run_cfg.TEST.IMS_PER_BATCH = 7
    config.write_text(run_cfg.dump())
    args = parse("--weights", run_folder / "model_final.pth", "--device", "cpu", "--config-file", config)
    assert predictor_from(args).cfg.TEST.IMS_PER_BATCH == 7


def test_wrong_input_is_one_line(run_folder):
    with pytest.raises(InputError, match=r"none\.pth"):
        predictor_from(parse("--weights", "none.pth"))
    with pytest.raises(InputError, match=r"there is no key TEST\.BATCH"):
        predictor_from(parse("--weights", run_folder / "model_final.pth", "TEST.BATCH", "3"))
