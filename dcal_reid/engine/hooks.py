"""Hooks around the training steps: learning rate, evaluation, log lines, checkpoints, stopping on request.

fast-reid's counterparts can miss the ends of the schedule, do not write the last evaluation to the metrics file, and
can store the metric of an earlier evaluation.
"""

import logging
from pathlib import Path

from fastreid.engine.train_loop import HookBase
from fastreid.evaluation.testing import flatten_results_dict
from fastreid.utils import comm
from fastreid.utils.events import EventWriter

from .solver import base_learning_rate, learning_rate_factor
from .stop import StopRequest

__all__ = ["CheckpointHook", "EvalHook", "LearningRateHook", "StopHook", "WriterHook"]

logger = logging.getLogger(__name__)


class LearningRateHook(HookBase):
    """Set the learning rate of every step from the iteration alone (see ``learning_rate_factor``)."""

    def before_train(self) -> None:
        """A resumed run may begin at the end of an epoch, without a step."""
        if self.trainer.iter:
            self._set(self.trainer.iter - 1)

    def before_step(self) -> None:
        self._set(self.trainer.iter)

    def _set(self, iteration: int) -> None:
        trainer = self.trainer
        factor = learning_rate_factor(trainer.cfg, iteration, trainer.iters_per_epoch)
        for group in trainer.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        trainer.storage.put_scalar("lr", base_learning_rate(trainer.cfg) * factor, smoothing_hint=False)


class EvalHook(HookBase):
    """Evaluate every TEST.EVAL_PERIOD epochs (0: never before the end) and after the last epoch."""

    def after_epoch(self) -> None:
        trainer = self.trainer
        done, period = trainer.epoch + 1, trainer.cfg.TEST.EVAL_PERIOD
        if done == trainer.max_epoch or (period > 0 and done % period == 0):
            # Save first: an evaluation can take long, and can fail.
            trainer.save("model_last", epochs=trainer.epoch)
            trainer.last_results = trainer.test(trainer.cfg, trainer.evaluated_model)
            trainer.last_results_iter = trainer.iter - 1
            comm.synchronize()
            scalars = {name: float(value) for name, value in flatten_results_dict(trainer.last_results).items()}
            trainer.storage.put_scalars(**scalars, smoothing_hint=False)
            summary = "  ".join(f"{name} {value:.1f}" for name, value in scalars.items() if name != "metric")
            logger.info("After epoch %d: %s", done, summary)


class CheckpointHook(HookBase):
    """Write model_last each epoch, model_<epoch> every SOLVER.CHECKPOINT_PERIOD epochs, model_best, model_final.

    ``metric`` on the first test set decides which checkpoint is best: the mean of mAP and Rank-1, or Top-1. The newest
    SOLVER.CHECKPOINT_KEEP of the model_<epoch> are kept.
    """

    def after_epoch(self) -> None:
        trainer = self.trainer
        done = trainer.epoch + 1
        final = done == trainer.max_epoch
        metric = self._new_metric()
        best = metric is not None and metric > trainer.best_metric
        if best:
            trainer.best_metric, trainer.best_epoch = metric, trainer.epoch
            trainer.save("model_best", epochs=done)
        if done % trainer.cfg.SOLVER.CHECKPOINT_PERIOD == 0 and not final:
            trainer.save(f"model_{trainer.epoch:04d}", epochs=done)
        # --resume continues from the checkpoint written last.
        trainer.save("model_final" if final else "model_last", epochs=done)
        if comm.is_main_process():
            self._remove_old(final)

    def _remove_old(self, final: bool) -> None:
        folder, keep = Path(self.trainer.cfg.OUTPUT_DIR), self.trainer.cfg.SOLVER.CHECKPOINT_KEEP
        if keep:
            # Other files were named by a user, or belong to an earlier run that went further.
            paths = [folder / f"model_{epoch:04d}.pth" for epoch in range(self.trainer.epoch + 1)]
            for path in [path for path in paths if path.is_file()][:-keep]:
                path.unlink()
        if final:
            (folder / "model_last.pth").unlink(missing_ok=True)

    def _new_metric(self) -> float | None:
        """The metric if this epoch was evaluated, else None; the first process has it and sends it to the others."""
        tests = self.trainer.cfg.DATASETS.TESTS
        name = "metric" if len(tests) == 1 else f"{tests[0]}/metric"
        value, iteration = self.trainer.storage.latest().get(name, (None, None))
        return comm.all_gather(value if iteration == self.trainer.storage.iter else None)[0]


class WriterHook(HookBase):
    """Every SOLVER.LOG_PERIOD steps and after each evaluation, write the means since the last line to all writers.

    At the end of an epoch it waits for the evaluation, so that both are in one line of metrics.json.
    """

    def __init__(self, period: int, writers: list[EventWriter]) -> None:
        """
        Args:
            period: iterations between two lines.
            writers: empty in processes other than the first, which only take part in averaging.
        """
        self.period = period
        self.writers = writers

    def after_step(self) -> None:
        if self._due() and (self.trainer.iter + 1) % self.trainer.iters_per_epoch:
            self._write()

    def after_epoch(self) -> None:
        evaluated = self.trainer.last_results_iter == self.trainer.storage.iter
        if self._due() or evaluated:
            self._write()

    def after_train(self) -> None:
        for writer in self.writers:
            writer.close()

    def _due(self) -> bool:
        return (self.trainer.storage.iter + 1) % self.period == 0

    def _write(self) -> None:
        trainer = self.trainer
        # Time last: computing the means waits for the device.
        trainer.storage.put_scalars(**trainer.meter.flush(), **trainer.timer.lap(), smoothing_hint=False)
        for writer in self.writers:
            writer.write()


class StopHook(HookBase):
    """Save everything and end the run, between two steps or after an epoch, when a signal asks for it."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def after_step(self) -> None:
        trainer = self.trainer
        # After the last step of an epoch, its evaluation and checkpoint come first; after_epoch then stops the run.
        if (trainer.iter + 1) % trainer.iters_per_epoch and self.request.agreed(trainer.iter + 1):
            trainer.save("model_last", epochs=trainer.epoch, iteration=trainer.iter + 1)
            self._end(trainer.iter + 1)

    def after_epoch(self) -> None:
        if self.trainer.epoch + 1 < self.trainer.max_epoch and self.request.agreed(0):
            self._end(self.trainer.iter)

    def _end(self, iteration: int) -> None:
        trainer = self.trainer
        logger.warning(
            "Stopped after iteration %d of %d, and everything is saved; --resume continues from there.",
            *(iteration, trainer.max_iter),
        )
        self.request.exit()
