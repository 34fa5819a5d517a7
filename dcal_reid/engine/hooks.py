"""What happens around the training steps: learning rate, evaluation, checkpoints, log lines.

fast-reid's hooks of the same purpose do not reach the ends of the schedule, evaluate the last epoch after the metrics
file is closed, and store the metric of the evaluation before.
"""

import logging
from pathlib import Path

from fastreid.engine.train_loop import HookBase
from fastreid.evaluation.testing import flatten_results_dict
from fastreid.utils import comm
from fastreid.utils.events import EventWriter

from .solver import base_learning_rate, learning_rate_factor

__all__ = ["CheckpointHook", "EvalHook", "LearningRateHook", "WriterHook"]


logger = logging.getLogger(__name__)


class LearningRateHook(HookBase):
    """Set the learning rate of every step from the iteration alone (see ``learning_rate_factor``)."""

    def before_step(self) -> None:
        trainer = self.trainer
        factor = learning_rate_factor(trainer.cfg, trainer.iter, trainer.iters_per_epoch)
        for group in trainer.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        trainer.storage.put_scalar("lr", base_learning_rate(trainer.cfg) * factor, smoothing_hint=False)


class EvalHook(HookBase):
    """Evaluate every TEST.EVAL_PERIOD epochs (0: never before the end) and after the last epoch."""

    def after_epoch(self) -> None:
        trainer = self.trainer
        # Weights that are not numbers must not be evaluated, nor get into a checkpoint.
        trainer.meter.check_finite()
        done, period = trainer.epoch + 1, trainer.cfg.TEST.EVAL_PERIOD
        if done == trainer.max_epoch or (period > 0 and done % period == 0):
            trainer.last_results = trainer.test(trainer.cfg, trainer.evaluated_model)
            trainer.last_results_iter = trainer.iter - 1
            comm.synchronize()
            scalars = {name: float(value) for name, value in flatten_results_dict(trainer.last_results).items()}
            trainer.storage.put_scalars(**scalars, smoothing_hint=False)
            summary = "  ".join(f"{name} {value:.1f}" for name, value in scalars.items() if name != "metric")
            logger.info("After epoch %d: %s", done, summary)


class CheckpointHook(HookBase):
    """model_last each epoch, model_<epoch> every SOLVER.CHECKPOINT_PERIOD epochs, model_best, model_final.

    ``metric`` on the first test set decides which is the best: the mean of mAP and Rank-1, or Top-1.
    """

    def after_epoch(self) -> None:
        trainer = self.trainer
        final = trainer.epoch + 1 == trainer.max_epoch
        metric = self._new_metric()
        best = metric is not None and metric > trainer.best_metric
        if best:
            trainer.best_metric, trainer.best_epoch = metric, trainer.epoch
            self._save("model_best")
        if (trainer.epoch + 1) % trainer.cfg.SOLVER.CHECKPOINT_PERIOD == 0 and not final:
            self._save(f"model_{trainer.epoch:04d}")
        # The last one written is the one that --resume finds.
        self._save("model_final" if final else "model_last")
        if final and comm.is_main_process():
            Path(trainer.cfg.OUTPUT_DIR, "model_last.pth").unlink(missing_ok=True)

    def _save(self, name: str) -> None:
        trainer = self.trainer
        state = {"epoch": trainer.epoch, "best_metric": trainer.best_metric, "best_epoch": trainer.best_epoch}
        if trainer.class_names is not None:
            state["class_names"] = trainer.class_names
        trainer.checkpointer.save(name, **state)

    def _new_metric(self) -> float | None:
        """The metric if this epoch was evaluated; the first process, which has it, tells the others."""
        tests = self.trainer.cfg.DATASETS.TESTS
        name = "metric" if len(tests) == 1 else f"{tests[0]}/metric"
        value, iteration = self.trainer.storage.latest().get(name, (None, None))
        return comm.all_gather(value if iteration == self.trainer.storage.iter else None)[0]


class WriterHook(HookBase):
    """Write the means of the last SOLVER.LOG_PERIOD steps, and each evaluation, to all writers.

    At the end of an epoch it waits for the evaluation, so that both stand in one line of metrics.json.
    """

    def __init__(self, period: int, writers: list[EventWriter]) -> None:
        """
        Args:
            period: iterations between two lines.
            writers: none in processes other than the first; these take part in averaging.
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
        self.trainer.storage.put_scalars(**self.trainer.meter.flush(), smoothing_hint=False)
        for writer in self.writers:
            writer.write()
