"""Time of a training step, on the CPU or a GPU."""

import datetime
import time

__all__ = ["StepTimer"]

# Steps until workers have started and libraries have chosen their algorithms.
_WARM_UP_STEPS = 2


class StepTimer:
    """The mean seconds of a step between two log lines.

    Steps queue up for a GPU, so the time of a single step says little. The clock keeps running while a log line, or the
    end of an epoch, waits for the queued steps.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._seconds = self._data_seconds = 0.0
        self._steps = 0
        self._warm_up = _WARM_UP_STEPS
        self._total_seconds, self._total_steps = 0.0, 0

    def start(self) -> None:
        self._since = time.perf_counter()

    def pause(self) -> None:
        """Stop the clock: what follows, for instance an evaluation, is not part of a step."""
        self._seconds += self._elapsed()
        self._since = None

    def add(self, data_seconds: float) -> None:
        """Count one more step, which waited ``data_seconds`` for its batch."""
        self._data_seconds += data_seconds
        self._steps += 1
        if self._warm_up and self._steps == self._warm_up:
            self._warm_up = 0
            self._restart()

    def lap(self) -> dict[str, float]:
        """The means of "time" and "data_time" over the steps since the last call; empty if there was no step, or during
        warm-up.

        Call it when the device has finished all steps.
        """
        if self._warm_up or not self._steps:
            return {}
        seconds, steps = self._seconds + self._elapsed(), self._steps
        self._total_seconds += seconds
        self._total_steps += steps
        means = {"time": seconds / steps, "data_time": self._data_seconds / steps}
        self._restart()
        return means

    def summary(self) -> str:
        """Number of steps, total time and mean of everything that ``lap`` reported; empty if it reported nothing."""
        if not self._total_steps:
            return ""
        seconds = datetime.timedelta(seconds=round(self._total_seconds))
        return f"{self._total_steps} steps in {seconds}, {self._total_seconds / self._total_steps:.4f} s each"

    def _elapsed(self) -> float:
        return 0.0 if self._since is None else time.perf_counter() - self._since

    def _restart(self) -> None:
        self._seconds = self._data_seconds = 0.0
        self._steps = 0
        if self._since is not None:
            self.start()
