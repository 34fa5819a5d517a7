"""Score a file of features again with other options, without the model."""

import json

from fastreid.config import CfgNode

from ..files import check_writable, written_atomically
from .features import FeatureSet
from .result import RankingResult
from .scoring import check_test_options, score, scoring_device

__all__ = ["rescore"]


def rescore(features: str, cfg: CfgNode, json_path: str = "", plot_path: str = "") -> RankingResult:
    """Score ``features.npz`` of a run as ``cfg.TEST`` says, and print the table.

    Args:
        features: the file that ``DCALReidEvaluator`` wrote.
        cfg: ``TEST`` (except FLIP, which the features already include) and ``MODEL.DEVICE`` are used.
        json_path: where to write all results, query by query; empty: nowhere.
        plot_path: where to plot CMC, AP and, if there is one, ROC; empty: nowhere.

    Raises:
        InputError: a file or options that cannot be used.
        OSError: ``json_path`` or ``plot_path`` cannot be written.
    """
    check_test_options(cfg.TEST)
    if json_path:
        check_writable(json_path)
    if plot_path:
        # Imported here so that matplotlib is loaded only if pictures are drawn.
        from .plot import draw_curves, prepare_picture_path

        prepare_picture_path(plot_path)
    data = FeatureSet.load(features)
    result = score(data, cfg.TEST, scoring_device(cfg))
    print(result.describe(), result.table(), sep="\n\n")
    if result.roc is not None:
        print("", result.roc.table(), sep="\n")
    if json_path:
        queries = {"paths": data.paths[data.query].tolist(), "indices": data.indices[data.query].tolist()}
        everything = result.as_dict()
        everything["queries"] |= queries
        with written_atomically(json_path) as temporary:
            temporary.write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n")
    if plot_path:
        draw_curves(result, plot_path)
    return result
