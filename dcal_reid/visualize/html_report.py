"""An evaluation as one HTML file: pictures are embedded, and nothing is fetched from elsewhere."""

import base64
import datetime
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from .. import __version__
from ..data.datasets.loading import load_classes
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import ClassificationResult, DCALClasEvaluator, DCALReidEvaluator
from ..evaluation.plot import draw_curves, sample_pairs
from ..files import check_writable, written_atomically
from ..task import is_classification
from ..text import shortened
from .attention_grid import draw_attention_of
from .chosen import chosen_queries, mistakes_first
from .confusion import draw_confusion
from .evaluated import evaluated_classes, evaluated_retrieval
from .predictions import draw_predictions_of
from .rank_list import draw_rank_lists
from .ranks import rank_rows

__all__ = ["Section", "check_report_path", "render", "write_report"]

# Rows of the tables of hardest classes and of confused pairs, gallery images of a query, characters of a row's title.
_ROWS, _TOP, _NAME_LENGTH = 15, 8, 26
_ATTENTION = (
    "Where the CLS token's attention comes from (rollout over the blocks) and which patches GLCA selects. Each map is "
    "divided by its own maximum."
)


@dataclass(frozen=True)
class Section:
    """A heading with a text, a picture and a table, each of which may be missing.

    Args:
        title: the heading.
        text: a paragraph.
        picture: a PNG, in base64.
        alt: describes the picture in words.
        headers, rows: of the table. Numbers are right-aligned, fractional ones with two decimals.
        chart: the picture has no photographs, so that its colours may be inverted on a dark page.
    """

    title: str
    text: str = ""
    picture: str = ""
    alt: str = ""
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str | int | float]] = ()
    chart: bool = False


def check_report_path(output: str | Path) -> None:
    """Check that the report can be written later.

    Raises:
        InputError: the path is not a name.html, or its folder does not exist.
        OSError: the file cannot be written.
    """
    output = Path(output)
    if output.suffix.lower() not in (".html", ".htm") or not output.parent.is_dir():
        raise InputError(f"the report cannot be written to {str(output)!r}; give a name.html in a folder that is there")
    check_writable(output)


def write_report(
    predictor: Predictor,
    output: str | Path,
    *,
    dataset: str = "",
    count: int = 6,
    evaluator: DCALReidEvaluator | DCALClasEvaluator | None = None,
) -> dict[str, float]:
    """Evaluate a model and write the results to one HTML file, for re-identification or for classification.

    Args:
        predictor: the model, and how it is evaluated (TEST).
        output: the file to write, name.html.
        dataset: the dataset to evaluate on; default: the first of DATASETS.TESTS.
        count: how many of the hardest queries, or predictions, are shown.
        evaluator: of a finished evaluation on ``dataset``; None: evaluate it here, and write nothing else.

    Returns:
        The metrics in percent.

    Raises:
        InputError: the path is not a name.html or its folder does not exist, or a dataset or an image cannot be used.
        OSError: the file cannot be written.
    """
    output, dataset = Path(output), dataset or predictor.cfg.DATASETS.TESTS[0]
    check_report_path(output)
    if count < 1:
        raise InputError(f"--count is {count}; give at least 1")
    classifies = is_classification(predictor.cfg)
    if evaluator is None:
        evaluator = (evaluated_classes if classifies else evaluated_retrieval)(predictor, dataset)
    metrics, sections = (_classification if classifies else _retrieval)(predictor, dataset, count, evaluator)
    weights = predictor.cfg.MODEL.WEIGHTS or "no weights: the model as it starts"
    model = predictor.cfg.MODEL.BACKBONE.TIMM_MODEL
    branches = getattr(predictor.model, "inference", predictor.cfg.MODEL.META_ARCHITECTURE)
    text = render(
        title=f"Evaluation of {Path(predictor.cfg.OUTPUT_DIR).name or model} on {dataset}",
        subtitle=f"{model} · {branches} · {weights}",
        metrics=_tiles(metrics),
        sections=sections,
        configuration=predictor.cfg.dump(),
        footer=f"dcal_reid {__version__}, {datetime.date.today().isoformat()}. Model {predictor.fingerprint}.",
    )
    with written_atomically(output) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # a file name need not be UTF-8
    return metrics


def render(
    *,
    title: str,
    subtitle: str,
    metrics: Mapping[str, float],
    sections: Sequence[Section],
    configuration: str,
    footer: str,
) -> str:
    """The HTML page. Texts are escaped, so they are shown as they are.

    Args:
        title, subtitle, footer, configuration: texts.
        metrics: in percent, shown large.
        sections: in order.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dcal_reid.visualize"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        metrics=metrics,
        sections=sections,
        configuration=configuration,
        footer=footer,
    )


def _retrieval(
    predictor: Predictor, dataset: str, count: int, evaluator: DCALReidEvaluator
) -> tuple[dict[str, float], list[Section]]:
    data, result = evaluator.features(), evaluator.result
    hardest = chosen_queries(evaluator, count=count)
    pairs = sample_pairs(*evaluator.compared)
    rows = rank_rows(evaluator, hardest, _TOP)
    shown = data.paths[hardest].tolist()
    sections = [
        _metrics_section(result.metrics(), result.describe()),
        Section(
            "Curves",
            "CMC, AP of all queries from best to worst, and distances of pairs: the less the two groups overlap, the "
            "better one threshold tells identities apart.",
            _picture(lambda path: draw_curves(result, path, pairs)),
            f"Curves: Rank-1 {100 * result.cmc(1)[0]:.1f} %, mAP {100 * result.mAP:.1f} %",
            chart=True,
        ),
        Section(
            "Hardest queries",
            f"The {len(hardest)} queries with the lowest AP and the {_TOP} gallery images nearest to each, junk left "
            "out. Below each image its distance and camera.",
            _picture(lambda path: draw_rank_lists(path, rows, size=predictor.image_size)),
            "Rank lists of the hardest queries",
            ["query", "identity", "camera", "AP (%)", "first match at rank", "matches"],
            _query_rows(evaluator, hardest),
        ),
        _attention_section(predictor, "Attention in the hardest queries", shown, [Path(path).stem for path in shown]),
    ]
    return result.metrics(), sections


def _query_rows(evaluator: DCALReidEvaluator, queries: Sequence[int]) -> list[tuple]:
    data, result = evaluator.features(), evaluator.result
    return [
        (
            str(data.paths[query]),
            int(data.pids[query]),
            int(data.camids[query]),
            float(100 * result.ap[query]),
            int(result.first_rank[query]),
            int(result.num_positives[query]),
        )
        for query in queries
    ]


def _classification(
    predictor: Predictor, dataset: str, count: int, evaluator: DCALClasEvaluator
) -> tuple[dict[str, float], list[Section]]:
    result = evaluator.result
    classes = load_classes(predictor.cfg, dataset)
    names = result.class_names
    examples = mistakes_first(result, count)
    sections = [
        _metrics_section(result.metrics(), result.describe().splitlines()[0]),
        Section("Hardest classes", headers=["class", "accuracy (%)", "right", "test images"], rows=_class_rows(result)),
        Section(
            "Confused classes",
            "Each row of the matrix is a true class; what lies off the diagonal was taken for another class.",
            _picture(lambda path: draw_confusion(path, result)),
            f"Confusion matrix of {len(names)} classes",
            ["class", "taken for", "images", "the other way"],
            [(names[p.true], names[p.predicted], p.count, p.reverse) for p in result.most_confused(_ROWS)],
        ),
        Section(
            "Predictions",
            "Test images, mistakes first, with the classes that are most probable; each class is shown by a training "
            "image of it.",
            _picture(lambda path: draw_predictions_of(path, result, classes, predictor.image_size, count=count)),
            "Test images with their most probable classes",
            ["test image", "class", "predicted", "probability (%)"],
            [
                (
                    str(result.paths[image]),
                    names[result.labels[image]],
                    names[result.predicted[image, 0]],
                    float(100 * result.probabilities[image, 0]),
                )
                for image in examples
            ],
        ),
        _attention_section(
            predictor.without_banner(classes.banner),
            "Attention in the same images",
            result.paths[examples].tolist(),
            [names[label] for label in result.labels[examples]],
        ),
    ]
    return result.metrics(), sections


def _class_rows(result: ClassificationResult) -> list[tuple]:
    counts, accuracy = result.confusion(), result.per_class()
    return [
        (result.class_names[label], float(100 * accuracy[label]), int(counts[label, label]), int(counts[label].sum()))
        for label in result.hardest(_ROWS)
    ]


def _metrics_section(metrics: Mapping[str, float], over: str) -> Section:
    return Section(
        "Metrics", f"In percent, over {over}.", headers=list(metrics), rows=[[float(v) for v in metrics.values()]]
    )


def _tiles(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that people look for first."""
    wanted = ("mAP", "Rank-1", "Rank-5", "mINP", "Top-1", "Top-5", "Class-mean")
    return {name: metrics[name] for name in wanted if name in metrics}


def _attention_section(predictor: Predictor, title: str, paths: Sequence[str], names: Sequence[str]) -> Section:
    """Attention maps; for a backbone without a CLS token or fast-reid's network, the section says there are none."""
    titles = [shortened(name, _NAME_LENGTH) for name in names]
    try:
        picture = _picture(lambda path: draw_attention_of(path, predictor, paths, row_titles=titles))
    except InputError as error:
        return Section(title, f"There is no picture: {error}.")
    return Section(title, _ATTENTION, picture, "Attention maps over the images and the patches that GLCA selects")


def _picture(draw: Callable[[Path], None]) -> str:
    """What ``draw`` writes to a PNG file, in base64."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.png")
        draw(path)
        return base64.b64encode(path.read_bytes()).decode("ascii")
