"""What is exported: normalisation, SA and GLCA with their selection, the heads, and both views of a flip test."""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from ..engine.inference import mean_over_flip
from ..engine.predictor import Predictor
from ..errors import InputError
from ..modeling import DCAL

__all__ = ["FeatureGraph", "check_exportable", "trace"]


class FeatureGraph(nn.Module):
    """Images (B, 3, H, W) uint8 -> features (B, D), or probabilities (B, classes), as from ``Predictor``, in fp32.

    Images are uint8 and normalised inside, because mean and standard deviation differ between models, and a caller who
    forgets them or divides by 255 once too often gets features that look plausible.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.model = predictor.model
        self.flip = predictor.cfg.TEST.FLIP.ENABLED

    def forward(self, images: Tensor) -> Tensor:
        return mean_over_flip(self.model, images, self.flip)


def check_exportable(predictor: Predictor) -> None:
    """
    Raises:
        InputError: local queries are selected at random, or MODEL.COMPILE is set.
    """
    cfg, model = predictor.cfg, predictor.model
    selects = isinstance(model, DCAL) and "glca" in model.inference and model.glca.needs_selection
    if selects and cfg.MODEL.DCAL.GLCA.SELECTION == "random":
        raise InputError(
            "MODEL.DCAL.GLCA.SELECTION is 'random': patches are drawn by PyTorch's generator, which no graph can hold; "
            "set MODEL.DCAL.GLCA.SELECTION rollout, or MODEL.DCAL.INFERENCE sa"
        )
    if cfg.MODEL.COMPILE:
        raise InputError("MODEL.COMPILE is True, but a compiled model cannot be exported; add MODEL.COMPILE False")


def trace(predictor: Predictor) -> ExportedProgram:
    """The graph of a model, for any number of images of its size."""
    graph = FeatureGraph(predictor).eval()
    # Two images, because a graph traced with one takes only one.
    images = torch.zeros((2, 3, *predictor.image_size), dtype=torch.uint8, device=predictor.model.device)
    with torch.no_grad():
        program = torch.export.export(graph, (images,), dynamic_shapes=({0: Dim("batch", min=1)},))
    # Paths on this machine mean nothing on another. Code that runs without autocast is a graph within the graph.
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program
