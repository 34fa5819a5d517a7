import base64
import csv
import io
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.engine.inference import evaluate_dataset
from dcal_reid.engine.setup import save_config
from dcal_reid.errors import InputError
from dcal_reid.visualize.html_report import Section, render, write_report

VOID = {"meta", "img", "br", "link"}
EVIL = "<script>alert('x')</script>\"&.png"


class Page(HTMLParser):
    """Collects what is on a page; tags must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.rows, self.headings, self.pictures, self.text = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "img":
            kind, data = dict(attrs)["src"].split(",")
            assert kind == "data:image/png;base64" and dict(attrs)["alt"]
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(data))))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        self.text.append(data)


def check_alone(page):
    """The page is self-contained: no scripts, and nothing from elsewhere."""
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form"})
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png"))
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} <= anchors


def test_retrieval(run_folder, tmp_path):
    predictor = Predictor(run_folder / "model_final.pth")
    metrics, _ = evaluate_dataset(predictor.cfg, predictor.model, "CSVReID")
    write_report(predictor, tmp_path / "report.html", count=3)
    page = Page((tmp_path / "report.html").read_text())
    check_alone(page)
    assert page.headings == [
        "Evaluation of run on CSVReID", "Metrics", "Curves", "Hardest queries", "Attention in the hardest queries"
    ]  # fmt: skip
    assert page.rows[0] == list(metrics)
    assert page.rows[1] == [f"{value:.2f}" for value in metrics.values()]
    assert page.rows[2][:3] == ["query", "identity", "camera"] and len(page.rows) == 3 + 3
    assert [float(row[3]) for row in page.rows[3:]] == sorted(float(row[3]) for row in page.rows[3:])
    assert len(page.pictures) == 3 and all(min(picture.size) > 200 for picture in page.pictures)
    text = "".join(page.text)
    assert "4 queries, 0 of them without a valid match; 12 gallery items; 2 cameras" in text
    assert predictor.cfg.dump() in text and predictor.fingerprint in text


def test_classification(class_run_folder, tmp_path):
    predictor = Predictor(class_run_folder / "model_final.pth")
    metrics, evaluator = evaluate_dataset(predictor.cfg, predictor.model, "ImageFolderFGVC")
    write_report(predictor, tmp_path / "report.html", count=4)
    page = Page((tmp_path / "report.html").read_text())
    check_alone(page)
    assert page.headings[1:] == [
        "Metrics", "Hardest classes", "Confused classes", "Predictions", "Attention in the same images"
    ]  # fmt: skip
    assert page.rows[1] == [f"{value:.2f}" for value in metrics.values()]
    hardest = [row for row in page.rows if len(row) == 4 and row[0] in evaluator.result.class_names and row[3] == "3"]
    counts = evaluator.result.confusion()
    for name, accuracy, right, _ in hardest:
        label = evaluator.result.class_names.index(name)
        assert int(right) == counts[label, label] < 3
        assert float(accuracy) == pytest.approx(100 * int(right) / 3, abs=0.01)
    assert len(page.pictures) == 3


def test_names_of_files_are_shown_as_they_are(run_folder, crops, tmp_path):
    name = EVIL.replace("/", "")
    (crops / "7_0_0.png").rename(crops / name)
    table = csv.reader(io.StringIO((crops / "labels.csv").read_text()))
    rows = [[name if value == "7_0_0.png" else value for value in row] for row in table]
    with open(crops / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    write_report(Predictor(run_folder / "model_final.pth"), tmp_path / "report.html", count=4)
    page = Page((tmp_path / "report.html").read_text())
    check_alone(page)
    assert any(row and "".join(row[:-5]).endswith(name) for row in page.rows)


def test_names_of_files_that_are_not_utf8(run_folder, crops, tmp_path):
    for number, split in enumerate(["query", "gallery", "gallery"]):
        for identity in (7, 8):
            folder = tmp_path / "own" / split / str(identity)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(sorted(crops.glob(f"{identity}_*.png"))[number], f"{folder}/\udcff_{number}.png")
    options = ("DATASETS.TESTS", "('FolderReID',)", "DATASETS.FOLDER.PATH", str(tmp_path / "own"))
    predictor = Predictor(run_folder / "model_final.pth", overrides=options)
    write_report(predictor, tmp_path / "report.html", count=2)
    page = Page((tmp_path / "report.html").read_text())
    assert any(row and "?_0.png" in "".join(row) for row in page.rows) and len(page.pictures) == 3


def test_whatever_the_texts_hold_is_escaped():
    section = Section(EVIL, EVIL, "aGk=", EVIL, [EVIL, "n"], [[EVIL, 1], [EVIL, 0.5]])
    text = render(title=EVIL, subtitle=EVIL, metrics={EVIL: 1.0}, sections=[section], configuration=EVIL, footer=EVIL)
    assert "<script" not in text
    tags = [(tag, attributes) for tag, attributes in _tags(text) if tag == "img"]
    assert tags == [("img", {"src": "data:image/png;base64,aGk=", "alt": EVIL})]
    assert text.count("&lt;script&gt;") == 1 + 12


def _tags(text):
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, dict(attrs)))
    parser.feed(text)
    return found


def test_a_backbone_without_a_cls_token_has_no_picture_of_attention(run_folder, tmp_path):
    predictor = Predictor(run_folder / "model_final.pth")
    predictor.model.backbone.grid_size = None
    predictor.model.glca.readout = "cls"  # which needs no rollout
    write_report(predictor, tmp_path / "report.html", count=1)
    page = Page((tmp_path / "report.html").read_text())
    assert "There is no picture: VisionTransformer has no CLS token" in "".join(page.text)
    assert len(page.pictures) == 2


@pytest.mark.usefixtures("fastreid_cfg")
def test_fastreids_own_network_has_no_picture_of_attention(run_cfg, tmp_path):
    Path(run_cfg.OUTPUT_DIR).mkdir()
    save_config(run_cfg)
    write_report(Predictor(config_file=f"{run_cfg.OUTPUT_DIR}/config.yaml"), tmp_path / "report.html", count=1)
    page = Page((tmp_path / "report.html").read_text())
    text = "".join(page.text)
    assert "There is no picture: FastReIDBaseline does not give its attention" in text and len(page.pictures) == 2
    assert "vit_tiny_patch16_224 · FastReIDBaseline · no weights" in text


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("report.pdf", {}, r"cannot be written to '.*report\.pdf'; give a name\.html"),
        ("none/report.html", {}, "in a folder that is there"),
        ("report.html", {"count": 0}, "--count is 0"),
    ],
)
def test_wrong_input(run_folder, tmp_path, output, options, message):
    with pytest.raises(InputError, match=message):
        write_report(Predictor(run_folder / "model_final.pth"), tmp_path / output, **options)
