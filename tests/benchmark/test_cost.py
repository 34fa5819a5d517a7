"""Against the paper's table 3: absolute figures of the baselines, and what each branch adds."""

import io
from contextlib import redirect_stdout

import pytest

from dcal_reid.benchmark.cost import TABLE_3, benchmark_cost


@pytest.fixture(scope="module")
def found_and_printed():
    with redirect_stdout(io.StringIO()) as printed:
        return benchmark_cost(), printed.getvalue()


@pytest.fixture
def found(found_and_printed):
    return found_and_printed[0]


@pytest.mark.parametrize("dataset", ["veri", "msmt17"])
def test_what_glca_adds_to_vit_b(found, dataset):
    base, glca = found[dataset]["baseline"], found[dataset]["glca"]
    assert glca[0] - base[0] == pytest.approx(6.8, abs=0.05)
    paper = TABLE_3[dataset]["glca"][1] - TABLE_3[dataset]["baseline"][1]
    assert glca[1] - base[1] == pytest.approx(paper, rel=0.15)


@pytest.mark.parametrize("dataset", ["veri", "msmt17"])
def test_vit_b_is_the_papers(found, dataset):
    for system in ("baseline", "glca"):
        parameters, operations = TABLE_3[dataset][system]
        assert found[dataset][system][0] == pytest.approx(parameters, rel=0.01)
        assert found[dataset][system][2] == pytest.approx(operations, rel=0.01)


def test_deit_t_is_the_papers_in_units_of_a_thousand_million(found):
    assert found["cub"]["baseline"][2] * 2**30 / 1e9 == pytest.approx(8.6, rel=0.01)


@pytest.mark.parametrize("dataset", TABLE_3)
def test_pwca_adds_nothing_at_inference(found, dataset):
    for without, with_pwca in (("baseline", "pwca"), ("glca", "dcal")):
        assert found[dataset][without] == found[dataset][with_pwca]


def test_the_table(found_and_printed):
    found, printed = found_and_printed
    assert printed.count("| veri") == 4 and "88.4" in printed
    assert printed.count("| cub") == 4 and all(f"{value:.2f}" in printed for value in found["cub"]["dcal"])
