"""Checkpoints: written whole or not at all, read without running code, and checked against the model."""

import logging
import re
from collections.abc import Iterable
from math import prod
from pathlib import Path

import torch
from fastreid.modeling.heads import ClasHead
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer as FastreidCheckpointer
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError
from ..files import read_tensors, written_atomically
from ..modeling import DCAL
from .weight_file import Weights, export_metadata, read_weights

__all__ = ["Checkpointer", "RandomState", "evaluation_state", "grid_size_of"]

logger = logging.getLogger(__name__)

# Not needed at inference: the loss weights, and for features the identity classifiers.
_LOSS_WEIGHTS = r"loss_weights\..*"
# A classifier belongs to a branch, or to fast-reid's own baseline, which has one head.
_NOT_FOR_FEATURES = re.compile(rf"heads\.(\w+\.)?weight|{_LOSS_WEIGHTS}")
_NOT_FOR_CLASSES = re.compile(_LOSS_WEIGHTS)
_POS_EMBED = "backbone.vit.pos_embed"


class RandomState:
    """The states of PyTorch's random number generators in every process, in a form that a checkpoint can hold."""

    def state_dict(self) -> dict[str, list[Tensor]]:
        # Asking for the state would allocate memory on a GPU that a run on the CPU does not use.
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else torch.empty(0, dtype=torch.uint8)
        states = comm.all_gather((torch.get_rng_state(), cuda))
        return {"cpu": [cpu for cpu, _ in states], "cuda": [cuda for _, cuda in states]}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        rank = comm.get_rank()
        if len(state["cpu"]) != comm.get_world_size():
            logger.warning(
                "The checkpoint is from %d processes, this run has %d: random numbers will differ from that run's.",
                len(state["cpu"]),
                comm.get_world_size(),
            )
            return
        torch.set_rng_state(state["cpu"][rank])
        if torch.cuda.is_available() and len(state["cuda"][rank]):
            torch.cuda.set_rng_state(state["cuda"][rank])


class Checkpointer(FastreidCheckpointer):
    """fast-reid's checkpointer with the three changes named in this module's first line.

    Files are named as in fast-reid: ``<name>.pth``, and ``last_checkpoint`` beside them.
    """

    def save(self, name: str, **extra) -> None:
        """Write ``<name>.pth`` and make it the one to resume from.

        All processes must call it; the first one writes.

        Raises:
            InputError: the file cannot be written, for instance because the disk is full. An existing file is kept.
        """
        data = {"model": self.model.state_dict(), "grid_size": grid_size_of(self.model)}
        data |= {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if not (self.save_dir and self.save_to_disk):
            return
        path = Path(self.save_dir) / f"{name}.pth"
        try:
            with written_atomically(path) as temporary:
                torch.save(data | extra, temporary)
            self.tag_last_checkpoint(path.name)
        except (OSError, RuntimeError) as error:  # PyTorch's writer raises RuntimeError on a full disk
            if "DataLoader worker" in str(error):  # a worker died; PyTorch raises this wherever the main process is
                raise
            raise InputError(
                f"checkpoint {str(path)!r} cannot be written: {str(error).splitlines()[0]}; make room, and continue "
                "with --resume from the previous checkpoint"
            ) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with written_atomically(Path(self.save_dir) / "last_checkpoint") as temporary:
            temporary.write_text(last_filename_basename)

    def resume(self, **told: object) -> dict:
        """Load the last checkpoint of this run: weights, optimiser, everything. Returns the rest of its content.

        Args:
            told: values that ``save`` was given as extra and that must still be the same, if the file has them.

        Raises:
            InputError: the checkpoint is damaged, or belongs to another model or other data.
        """
        path = self.get_checkpoint_file()
        content = read_tensors(path)
        for name, value in told.items():
            if content.get(name, value) != value:
                raise InputError(
                    f"checkpoint {path!r} is from other {name.replace('_', ' ')} than there are now, so its run cannot "
                    f"continue; restore them, or start a run in another OUTPUT_DIR with MODEL.WEIGHTS {path}"
                )
        for key in ("model", *self.checkpointables):
            if key not in content:
                raise InputError(
                    f"checkpoint {path!r} holds no {key}, so a run cannot resume from it; start one with MODEL.WEIGHTS"
                )
        self._load(path, content.pop("model"), may_miss=None)
        self._check_grid(path, content.pop("grid_size", None))
        for key, obj in self.checkpointables.items():
            if state := content.pop(key):  # the state of a disabled gradient scaler is empty
                _restore(obj, state, f"checkpoint {path!r} has another {key} than the configuration")
        logger.info("Resuming from %s", path)
        return content

    def load_weights(self, path: str) -> None:
        """Start training from these weights.

        Loss weights, and identity classifiers of another size, are left out; position embeddings for another image size
        are resized.

        If the file has no GLCA (a baseline's, for example) or one with another number of blocks, the model's GLCA
        starts as a copy of the loaded blocks, provided that it is configured to start as a copy.

        Raises:
            InputError: the file cannot be read or lacks a tensor of the model's backbone.
        """
        weights = read_weights(path)
        # Loss weights belong to the branches of the run that they come from.
        state = {name: value for name, value in weights.state.items() if not name.startswith("loss_weights.")}
        old, new = weights.grid_size, grid_size_of(self.model)
        if old and new and old != new and _POS_EMBED in state:
            state[_POS_EMBED] = _resized(state[_POS_EMBED], old, new)
            logger.warning("%s has %d x %d patches, the model %d x %d: position embeddings resized.", path, *old, *new)
        self._load(path, state, may_miss=re.compile(r"(?!backbone\.).*"))
        if isinstance(self.model, DCAL) and _of_glca(state) != _of_glca(self.model.state_dict()):
            self.model.copy_into_glca()

    def load_for_evaluation(self, path: str, weights: Weights) -> None:
        """Load the tensors that features or class scores need; none of them may be missing.

        Args:
            path: for messages.
            weights: the content of that file.

        Raises:
            InputError: the weights are of another backbone, size or branch.
        """
        self._load(path, weights.state, may_miss=_not_needed(self.model))
        self._check_grid(path, weights.grid_size)

    def _check_grid(self, path: str, grid_size: list[int] | None) -> None:
        """Shapes do not reveal this: 16 x 8 and 8 x 16 patches have position embeddings of the same shape."""
        own = grid_size_of(self.model)
        if grid_size and own and grid_size != own:
            raise InputError(
                f"checkpoint {str(path)!r} is for images with {grid_size[0]} x {grid_size[1]} patches, the model's "
                f"have {own[0]} x {own[1]}; use {_configuration_of(path)}"
            )

    def _load(self, path: str, state: dict[str, Tensor], may_miss: re.Pattern | None) -> None:
        model = self.model.state_dict()
        if not state.keys() & model.keys():
            raise InputError(
                f"checkpoint {str(path)!r} holds no tensor of the model: the first of its {len(state)} is "
                f"{next(iter(state), None)!r}; give weights of a bare backbone, from timm or elsewhere, as "
                "MODEL.BACKBONE.PRETRAIN_PATH"
            )
        other_shape = {k for k, v in state.items() if k in model and v.shape != model[k].shape}
        absent = [k for k in model if k not in state]
        wrong = [k for k in absent + sorted(other_shape) if may_miss is None or not may_miss.fullmatch(k)]
        if wrong:
            key = wrong[0]
            found = f"has {list(state[key].shape)}" if key in state else "has no such tensor"
            raise InputError(
                f"checkpoint {str(path)!r} does not fit the model: {len(wrong)} of {len(model)} tensors differ, the "
                f"first is {key} {list(model[key].shape)}, of which the file {found}; use {_configuration_of(path)}"
            )
        self.model.load_state_dict({k: v for k, v in state.items() if k not in other_shape}, strict=False)
        unused = [k for k in state if k not in model]
        logger.info(
            "Loaded %s. Not in the file: %s. Of another shape: %s. Not used: %s.",
            path,
            *(_names(keys) for keys in (absent, other_shape, unused)),
        )


def _not_needed(model: nn.Module) -> re.Pattern:
    """A pattern for the names of tensors that features or class scores do not need."""
    classifies = any(isinstance(module, ClasHead) for module in model.modules())
    return _NOT_FOR_CLASSES if classifies else _NOT_FOR_FEATURES


def evaluation_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights that features or class scores depend on: without loss weights, and for features without identity
    classifiers."""
    not_needed = _not_needed(model)
    return {name: tensor for name, tensor in model.state_dict().items() if not not_needed.fullmatch(name)}


def _configuration_of(path: str | Path) -> str:
    if export_metadata(str(path)):
        return "the configuration in it"
    beside = Path(path).with_name("config.yaml").is_file()
    return "the config.yaml beside the checkpoint" if beside else "the configuration that it was trained with"


def grid_size_of(model: nn.Module) -> list[int] | None:
    """[rows, columns] of patches, which no tensor's shape reveals. None: the backbone has no such grid."""
    grid_size = getattr(getattr(model, "backbone", None), "grid_size", None)
    return grid_size and list(grid_size)


def _resized(pos_embed: Tensor, old: list[int], new: list[int]) -> Tensor:
    """Position embeddings (1, n + N, D) of n other tokens and N old patches -> the same for the new patches."""
    return resample_abs_pos_embed(pos_embed, new, old, num_prefix_tokens=pos_embed.shape[1] - prod(old))


def _restore(obj, state: dict, differs: str) -> None:
    cure = "continue with the config.yaml beside it, or start a run with MODEL.WEIGHTS"
    if isinstance(obj, Optimizer) and _kind(state["param_groups"]) != _kind(obj.param_groups):
        raise InputError(f"{differs} (SOLVER.OPT); {cure}")
    try:
        obj.load_state_dict(state)
    except ValueError as error:
        raise InputError(f"{differs}: {error}; {cure}") from error


def _kind(param_groups: list[dict]) -> bool:
    """SGD has a momentum, Adam and AdamW have betas."""
    return "momentum" in param_groups[0]


def _of_glca(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith("glca.")}


def _names(keys) -> str:
    return ", ".join(sorted(keys)) or "none"
