"""The training loop: fast-reid's ``TrainerBase`` and hooks around a step that runs on CPU and GPU."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import TrainerBase
from fastreid.modeling.meta_arch import build_model
from fastreid.utils import comm
from fastreid.utils.events import EventStorage, JSONWriter, TensorboardXWriter
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from ..data import build_distractor_loader, build_train_loader
from ..data.datasets.loading import load_test_items
from ..errors import InputError
from ..task import is_classification
from .accumulate import check_parts, parts_of
from .captured import CapturedStep, check_capturable
from .check import check_smoothing
from .checkpoint import Checkpointer, RandomState
from .hooks import CheckpointHook, EvalHook, LearningRateHook, StopHook, WriterHook
from .inference import autocast, evaluate_dataset, uses_half_precision
from .meter import MeanMeter
from .parallel import distributed, share_buffers, without_wrapper
from .setup import with_num_classes
from .solver import base_learning_rate, build_optimizer
from .stop import StopRequest
from .timer import StepTimer
from .writers import ProgressPrinter, prepare_metrics_file

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)


class Trainer(TrainerBase):
    """Trains a model that follows fast-reid's contract (a batch in, a dict of losses out) as ``cfg`` says.

    Example::

        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        results = trainer.train()
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: checked and with the device resolved, as ``engine.setup`` returns it. MODEL.HEADS.NUM_CLASSES 0 is
                replaced by the number of training identities or classes.

        Raises:
            InputError: data or pretrained weights that cannot be used, or do not fit the configuration.
        """
        super().__init__()
        check_capturable(cfg)
        self.data_loader = build_train_loader(cfg)
        if not is_classification(cfg):  # classification is tested on the data set that it is trained on
            for name in cfg.DATASETS.TESTS:
                load_test_items(cfg, name)  # so that errors in it surface before training
        self.class_names: list[str] | None = self.data_loader.class_names
        self.cfg = cfg = with_num_classes(cfg, self.data_loader.dataset.num_classes)
        check_smoothing(cfg)
        self.iters_per_epoch = self.data_loader.iters_per_epoch
        self.max_epoch = cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.start_epoch = self.start_iter = 0
        self._continues_metrics = False

        check_parts(cfg, self.data_loader.batch_sampler.sampler, comm.get_world_size())
        if self.max_iter <= cfg.SOLVER.WARMUP_ITERS:
            logger.warning(
                "SOLVER.WARMUP_ITERS is %d, but training has %d iterations: it never reaches its learning rate.",
                *(cfg.SOLVER.WARMUP_ITERS, self.max_iter),
            )
        model = build_model(cfg)
        # Averages the BNNecks' running statistics too: the model's own do not fit the features of averaged weights.
        self.ema = ModelEmaV3(model, cfg.SOLVER.EMA.DECAY, use_warmup=True) if cfg.SOLVER.EMA.ENABLED else None
        if cfg.MODEL.COMPILE:
            model.compile()
        self.model = distributed(cfg, model)
        self.optimizer = build_optimizer(cfg, self._bare_model)
        self.captured = CapturedStep(self._bare_model, self._captured_gradients) if cfg.SOLVER.CUDA_GRAPH else None
        self.meter = MeanMeter()
        self.timer = StepTimer()
        scaled = uses_half_precision(cfg) and cfg.SOLVER.AMP.DTYPE == "fp16"
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self.checkpointer = Checkpointer(
            self._bare_model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            optimizer=self.optimizer,
            grad_scaler=self.grad_scaler,
            random_state=RandomState(),
            meter=self.meter,
            **({"ema": self.ema.module} if self.ema else {}),
        )
        if cfg.SOLVER.LR_FOR_BATCH:
            logger.info(
                "Learning rate %g = SOLVER.BASE_LR %g x %d / %d (IMS_PER_BATCH / LR_FOR_BATCH)",
                *(base_learning_rate(cfg), cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.LR_FOR_BATCH),
            )
        self.best_metric, self.best_epoch = -1.0, -1
        self.broken_paths: set[str] = set()
        self.last_results: dict = {}
        self.last_results_iter = -1

    @property
    def device(self) -> torch.device:
        return torch.device(self.cfg.MODEL.DEVICE)

    @property
    def _bare_model(self) -> nn.Module:
        return without_wrapper(self.model)

    @property
    def _has_external_distractors(self) -> bool:
        pwca = self.cfg.MODEL.DCAL.PWCA
        return pwca.NUM_BLOCKS > 0 and pwca.DISTRACTORS == "external"

    @property
    def evaluated_model(self) -> nn.Module:
        """The model to evaluate: with averaged weights if there are any."""
        return self.ema.module if self.ema else self.model

    def resume_or_load(self, resume: bool) -> None:
        """Resume from the last checkpoint in OUTPUT_DIR if asked to and there is one, else load MODEL.WEIGHTS if set.

        Raises:
            InputError: the weights or the checkpoint do not fit, or the run is already beyond SOLVER.MAX_EPOCH.
        """
        if resume and self.checkpointer.has_checkpoint():
            options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
            state = self.checkpointer.resume(**self._told)
            # The momenta come from the checkpoint, learning rate and weight decay from the configuration.
            for group, option in zip(self.optimizer.param_groups, options, strict=True):
                group.update(option)
            self.start_epoch, self.start_iter = self._place(**state["place"])
            # With another batch size an iteration is a different share of an epoch.
            self._continues_metrics = state["place"]["iters_per_epoch"] == self.iters_per_epoch
            self.best_metric, self.best_epoch = state["best_metric"], state["best_epoch"]
            if self.start_epoch > self.max_epoch:
                raise InputError(
                    f"SOLVER.MAX_EPOCH is {self.max_epoch}, but the run in {self.cfg.OUTPUT_DIR} has "
                    f"{self.start_epoch} epochs; give it at least that, or train in another OUTPUT_DIR"
                )
            return
        if resume:
            logger.warning("--resume: no checkpoint in %s, so training starts anew.", self.cfg.OUTPUT_DIR)
        elif self.checkpointer.has_checkpoint():
            logger.warning("Starting anew: the checkpoints in %s will be replaced.", self.cfg.OUTPUT_DIR)
        if self.cfg.MODEL.WEIGHTS:
            self.checkpointer.load_weights(self.cfg.MODEL.WEIGHTS)
            if self.ema:
                self.ema.set(self._bare_model)

    def save(self, name: str, epochs: int, iteration: int | None = None) -> None:
        """Write a checkpoint from which ``resume_or_load`` can resume.

        Args:
            name: of the file, without suffix.
            epochs: how many are complete, including their evaluation.
            iteration: how many steps are done; None: as many as at the end of this epoch.
        """
        place = {"epochs": epochs, "iteration": iteration or self.iter, "iters_per_epoch": self.iters_per_epoch}
        state = {"place": place, "best_metric": self.best_metric, "best_epoch": self.best_epoch}
        self.checkpointer.save(name, **state, **self._told)

    @cached_property
    def _told(self) -> dict:
        """Values that must be the same when the run resumes; inference reads some of them."""
        told = {"class_names": self.class_names} if self.class_names is not None else {}
        told["training_images"] = self.data_loader.dataset.digest()
        return told | {"num_classes": self.cfg.MODEL.HEADS.NUM_CLASSES}

    def _place(self, epochs: int, iteration: int, iters_per_epoch: int) -> tuple[int, int]:
        """Where a checkpoint resumes, even if a new batch size has changed the number of steps per epoch."""
        done = iteration - epochs * iters_per_epoch
        return epochs, epochs * self.iters_per_epoch + done * self.iters_per_epoch // iters_per_epoch

    def train(self) -> dict:
        """Train the remaining epochs and return the results of the last evaluation.

        Raises:
            InputError: a loss that is not a number, an image that cannot be decoded, a full disk.
            SystemExit: SIGINT or SIGTERM arrived; everything is saved.
        """
        if self.start_epoch >= self.max_epoch:
            logger.info("The run is complete: %d of %d epochs done. Evaluating it.", self.start_epoch, self.max_epoch)
            self._finish()
            return self.test(self.cfg, self.evaluated_model)
        self._batches = self.data_loader.batches(self.start_iter)
        if self._has_external_distractors:
            self._distractors = build_distractor_loader(self.cfg).batches(self.start_iter)
        with StopRequest() as request:
            self.register_hooks([*self._build_hooks(), StopHook(request)])
            self._loop()
        return self.last_results

    def _finish(self) -> None:
        """Write model_final if the run ended before that, but after another checkpoint of the same epoch."""
        folder = Path(self.cfg.OUTPUT_DIR)
        if comm.all_gather((folder / "model_final.pth").is_file())[0]:
            return
        self.save("model_final", epochs=self.start_epoch, iteration=self.start_iter)
        if comm.is_main_process():
            (folder / "model_last.pth").unlink(missing_ok=True)

    def _loop(self) -> None:
        """Replaces ``TrainerBase.train``, which can start only at the beginning of an epoch."""
        logger.info("Training from iteration %d of %d on", self.start_iter, self.max_iter)
        self.model.train()
        self.iter = self.start_iter
        with EventStorage(max(0, self.start_iter - 1)) as self.storage:
            try:
                self.before_train()
                for epoch in range(self.start_epoch, self.max_epoch):
                    self.epoch = epoch
                    self.before_epoch()
                    self.timer.start()
                    while self.iter < (self.epoch + 1) * self.iters_per_epoch:
                        self.before_step()
                        self.run_step()
                        self.after_step()
                        self.iter += 1
                    # This waits for a GPU. Weights that are not numbers must neither be evaluated nor saved.
                    self.meter.check_finite()
                    self.timer.pause()
                    self.after_epoch()
            except InputError:
                raise
            except Exception:
                logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()
                if summary := self.timer.summary():
                    logger.info("Trained %s", summary)

    def _build_hooks(self) -> list:
        cfg, writers = self.cfg, []
        # If all steps of an epoch are done, its log line and its evaluation are repeated.
        first = min(self.start_iter, (self.start_epoch + 1) * self.iters_per_epoch - 1)
        if comm.is_main_process():
            metrics = Path(cfg.OUTPUT_DIR, "metrics.json")
            prepare_metrics_file(metrics, first if self._continues_metrics else 0)
            if not self.start_iter:  # otherwise --resume would find the previous run
                Path(cfg.OUTPUT_DIR, "last_checkpoint").unlink(missing_ok=True)
            writers = [
                ProgressPrinter(self.max_iter, self.iters_per_epoch, cfg.SOLVER.IMS_PER_BATCH),
                JSONWriter(str(metrics)),
                TensorboardXWriter(cfg.OUTPUT_DIR, purge_step=first or None),
            ]
        return [LearningRateHook(), EvalHook(), WriterHook(cfg.SOLVER.LOG_PERIOD, writers), CheckpointHook()]

    def run_step(self) -> None:
        """One optimiser step on the next batch."""
        start = time.perf_counter()
        batch = next(self._batches)
        broken = set(batch["broken_paths"])
        if self._has_external_distractors:
            distractors = next(self._distractors)
            batch["distractors"] = distractors["images"]
            broken.update(distractors["broken_paths"])
        self.timer.add(data_seconds=time.perf_counter() - start)
        for path in broken - self.broken_paths:
            logger.warning("Image %s cannot be decoded; another of the same identity or class takes its place.", path)
        self.broken_paths |= broken

        if not self.captured:
            self.optimizer.zero_grad()
        parts = parts_of(batch, self.cfg.SOLVER.ACCUMULATE)
        for number, part in enumerate(parts, 1):
            # Gradients are averaged over the processes once, after the last part.
            with nullcontext() if number == len(parts) or self.model is self._bare_model else self.model.no_sync():
                self._backward(part, len(parts), batch["img_paths"])
        self._clip_gradients()
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.ema:
            self.ema.update(self._bare_model, step=self.iter + 1)

    def _backward(self, batch: dict, parts: int, paths: Sequence[str]) -> None:
        scalars = self.captured(batch) if self.captured else self._gradients(lambda: self.model(batch), parts)
        self.meter.add(scalars, paths)

    def _gradients(self, losses_of_step: Callable[[], dict[str, Tensor]], parts: int = 1) -> dict[str, Tensor]:
        """Forward and backward pass. Returns the scalars to log."""
        with autocast(self.cfg):
            losses = losses_of_step()
            total = sum(losses.values())
        self.grad_scaler.scale(total / parts).backward()
        losses = {name: value.detach() for name, value in losses.items()}
        return {"total_loss": total.detach(), **losses, **getattr(self._bare_model, "metrics", {})}

    def _captured_gradients(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._gradients(lambda: self._bare_model.training_losses(**inputs))

    def _clip_gradients(self) -> None:
        clip = self.cfg.SOLVER.CLIP_GRADIENTS
        if not clip.ENABLED:
            return
        self.grad_scaler.unscale_(self.optimizer)
        if clip.CLIP_TYPE == "norm":
            nn.utils.clip_grad_norm_(self.model.parameters(), clip.CLIP_VALUE, clip.NORM_TYPE)
        else:
            nn.utils.clip_grad_value_(self.model.parameters(), clip.CLIP_VALUE)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, class_names: Sequence[str] | None = None) -> dict:
        """Evaluate on every data set of DATASETS.TESTS.

        Args:
            class_names: as for ``evaluate_dataset``.

        Returns:
            The metrics on the first process, by data set if there are several; an empty dict on the others.
        """
        share_buffers(model)
        model = without_wrapper(model)
        results = OrderedDict((name, evaluate_dataset(cfg, model, name, class_names)[0]) for name in cfg.DATASETS.TESTS)
        if not comm.is_main_process():
            return {}
        return next(iter(results.values())) if len(results) == 1 else results
