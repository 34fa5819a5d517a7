"""What docs/ and the README tell users to type works: code runs, commands parse, figures are those of the configs."""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
from tabulate import tabulate

from dcal_reid import Predictor
from dcal_reid.engine import argument_parser, load_config
from dcal_reid.engine.check import check_config
from dcal_reid.export import export_onnx
from dcal_reid.modeling import PAIR_SAMPLER_REGISTRY

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / "configs"
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "datasets" / "README.md", *DOCS]
KINDS = {"motorcycle": 56, "car": 36, "truck": 26, "bus": 2}
# Programs that are not ours.
OTHERS = {"pip", "export", "cd", "git", "curl", "tensorboard"}


def blocks(language, documents):
    found = []
    for path in documents:
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL), 1):
            found.append(pytest.param(block, id=f"{path.name}-{number}"))
    return found


def commands(documents):
    found = []
    for path in documents:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [pytest.param(line, id=f"{path.name}-{line[:60]}") for line in lines if line.strip()]
    return found


def write_vehicle_labels(path):
    """As many vehicles of each kind as docs/results.md draws, and a few more."""
    path.parent.mkdir()
    vehicles = [f"{kind}_{n}" for kind, count in KINDS.items() for n in range(count + 4)]
    rows = [f"{name}_{camera}.jpg,{name},{camera},train" for name in vehicles for camera in ("cam1", "cam2")]
    path.write_text("\n".join(["path,identity,camera,split", *rows]) + "\n")


@pytest.mark.parametrize("code", blocks("python", DOCUMENTS))
def test_python_runs(code, run_folder, tmp_path, monkeypatch):
    """In the repository, with a small untrained model as logs/run/, and two images as crops/."""
    crops = run_folder.parent / "crops"
    for name, image in (("a.jpg", "6_0_0.png"), ("b.jpg", "6_1_0.png")):
        shutil.copy(crops / image, crops / name)
    for shown, real in (("logs/run/", f"{run_folder}/"), ("crops/", f"{crops}/")):
        code = code.replace(shown, real)
    if "dcal.onnx" in code:
        pytest.importorskip("onnxruntime", reason='needs pip install "dcal_reid[export]"')
        export_onnx(Predictor(run_folder / "model_final.pth", device="cpu"), run_folder / "dcal.onnx")
        code = code.replace("dcal.onnx", str(run_folder / "dcal.onnx"))
    if "vehicles/labels.csv" in code:
        write_vehicle_labels(tmp_path / "vehicles" / "labels.csv")
        monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    monkeypatch.chdir(REPOSITORY)
    # What a snippet registers must be removed after it.
    monkeypatch.setattr(PAIR_SAMPLER_REGISTRY, "_obj_map", dict(PAIR_SAMPLER_REGISTRY._obj_map))
    exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("command", commands(DOCUMENTS))
def test_commands_parse(command, monkeypatch):
    """The tool is there, takes these options, and its configuration has these keys."""
    monkeypatch.chdir(REPOSITORY)
    for part in re.split(r" && ", command):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if not words or words[0] in OTHERS or words[0] == "." or words[:2] == ["python3", "-m"]:
            continue
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        elif words[:2] == ["python", "-m"]:
            assert words[2] == "pytest"
        else:
            assert words[0] in ("python", "torchrun"), command
            at = next(place for place, word in enumerate(words) if word.startswith("tools/"))
            check_tool(words[at], words[at + 1 :])


def check_tool(tool, words):
    if tool in ("tools/train_net.py", "tools/demo.py"):
        args = argument_parser().parse_args(words)
    else:
        parser = runpy.run_path(str(REPOSITORY / tool))["parser"]()
        if "--help" in words:
            return
        # Argparse refuses to mix subcommands with options.
        args = parser.parse_args(words) if tool == "tools/benchmark.py" else parser.parse_intermixed_args(words)
    config = getattr(args, "config_file", "")
    opts = getattr(args, "opts", None) or []
    if len(opts) % 2 == 0:
        cfg = load_config(config, opts)
        if tool == "tools/train_net.py":
            check_config(cfg)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_links_resolve_and_their_headings_exist(document):
    missing = []
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (heading and heading not in anchors(target)):
            missing.append(link)
    assert missing == []


def anchors(document):
    """The anchors that GitHub makes."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index():
    index = (REPOSITORY / "docs" / "README.md").read_text()
    assert [page.name for page in DOCS if page.name != "README.md" and f"({page.name})" not in index] == []


def test_what_the_table_of_equations_names_exists():
    text = (REPOSITORY / "docs" / "equations.md").read_text()
    named = re.findall(r"`(?:dcal_reid/)?((?:\w+/)?\w+\.py)`: ((?:`[\w.]+`(?:, | \([^)]*\), )?)+)", text)
    assert len(named) >= 15
    for file, names in named:
        folder = REPOSITORY / "dcal_reid"
        source = (folder / file if "/" in file else folder / "modeling" / file).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            last = name.rpartition(".")[2]
            assert re.search(rf"(?:def|class) {last}\b", source), f"{file}: {name}"


# --- docs/reproduction.md ------------------------------------------------------------------------------------------


def figures(path):
    """The paper's figures in the first lines of a config: "84.6", or mAP and rank-1 as "80.2 / 96.9"."""
    aim = path.read_text().partition("\n# python")[0]
    return " / ".join(re.findall(r"(?:top-1|mAP|rank-1) (\d+\.\d)", aim)) or "not given"


def leaves(folders, backbones):
    rows = []
    for backbone in backbones:
        for method in ("baseline", "dcal"):
            name = f"{method}_{backbone}.yml"
            rows.append([f"`{name}`", *(figures(CONFIGS / folder / name) for folder in folders)])
    return tabulate(rows, ["", *(f"`configs/{folder}/`" for folder in folders)], "pipe", disable_numparse=True)


def groups(names):
    """A row for each variant, a column for each group of configs/ablation/."""
    files = [path.name for path in sorted((CONFIGS / "ablation" / names[0]).iterdir(), key=in_order)]
    rows = []
    for file in files:
        paths = [CONFIGS / "ablation" / name / file for name in names]
        what = re.match(r"# [\w/-]+ with (.+?),? on (?:CUB|VeRi|MSMT)", paths[0].read_text())[1]
        rows.append([f"`{file}`", what, *map(figures, paths)])
    return tabulate(rows, ["", "", *(f"`{name}`" for name in names)], "pipe", disable_numparse=True)


ORDER = [
    *("none", "baseline", "glca", "pwca", "dcal"),
    *("noise_image", "noise_label", "noise", "external", "intra", "inter", "balanced", "both", "sa"),
]


def in_order(path):
    number = re.search(r"\d+", path.stem)
    return ORDER.index(path.stem) if path.stem in ORDER else 99, int(number[0]) if number else 0, path.stem


def others():
    rows = []
    for path in ("cub/{}_cait_xs24", "cub/{}_swin_t", "msmt17/{}_swin_t"):
        for method in ("baseline", "dcal"):
            config = f"{path.format(method)}.yml"
            rows.append([f"`configs/{config}`", figures(CONFIGS / config)])
    return tabulate(rows, ["", "published"], "pipe", disable_numparse=True)


TABLES = {
    "table 1": lambda: leaves(["cub", "cars", "aircraft"], ["deit_t", "deit_s", "deit_b", "vitb", "r50_vitb"]),
    "table 2": lambda: leaves(["veri", "msmt17", "market1501", "dukemtmc"], ["deit_t", "deit_s", "deit_b", "vitb"]),
    "other backbones": others,
    "table 3": lambda: groups(["table3_cub", "table3_veri", "table3_msmt17"]),
    "table 4": lambda: groups(["table4_cub", "table4_msmt17"]),
    "figure 2, GLCA": lambda: groups(["fig2_glca_cub", "fig2_glca_msmt17"]),
    "figure 2, PWCA": lambda: groups(["fig2_pwca_cub", "fig2_pwca_msmt17"]),
    "section 4.4": lambda: groups(["glca_variants"]),
    "section 4.6": lambda: groups(["inference"]),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_those_of_the_configs(name):
    """The configs' own figures are compared with the paper in test_configs*.py."""
    assert TABLES[name]() in (REPOSITORY / "docs" / "reproduction.md").read_text(), TABLES[name]()
