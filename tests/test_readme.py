"""What the documents say can be done, and that what they point at is there."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from dcal_reid.ablation import variants
from dcal_reid.engine import argument_parser, load_config
from dcal_reid.engine.check import check_config

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(language):
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return [block.replace("\\\n", " ") for block in found]


def test_python_blocks_run(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    (code,) = blocks("python")
    names = {}
    exec(code, names)
    assert names["model"].heads["sa"].weight.shape == (751, 192)


def test_training_commands_parse_and_their_configs_are_accepted(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    commands = [line for block in blocks("sh") for line in block.splitlines() if "tools/train_net.py" in line]
    assert len(commands) >= 5
    for command in commands:
        args = argument_parser().parse_args(shlex.split(command)[2:])
        check_config(load_config(args.config_file, args.opts))


def test_ablation_commands_parse_and_their_groups_exist(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    parser = runpy.run_path("tools/ablate.py")["parser"]()
    commands = [line for block in blocks("sh") for line in block.splitlines() if "tools/ablate.py" in line]
    assert len(commands) == 2
    for command in commands:
        args = parser.parse_intermixed_args(shlex.split(command)[2:])
        assert variants(args.group) and (not args.config_file or Path(args.config_file).is_file())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(document):
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (document.parent / link).exists()]
    named = re.findall(r"`((?:configs|tools|docs|dcal_reid|datasets|tests)/[\w/.]+\.\w+)`", text)
    missing += [name for name in named if not (REPOSITORY / name).exists()]
    assert missing == []


def test_the_tests_named_for_fastreids_faults_exist():
    text = (REPOSITORY / "docs" / "fastreid.md").read_text()
    named = re.findall(r"`((?:\w+/)*test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 25
    for file, test in named:
        source = (REPOSITORY / "tests" / file).read_text()
        assert f"def {test}(" in source or not test, f"{file}::{test}"
