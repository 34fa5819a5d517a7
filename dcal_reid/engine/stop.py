"""Ctrl-C and SIGTERM: a run ends between two steps, with everything saved."""

import os
import signal
import sys
import threading

from fastreid.utils import comm

__all__ = ["StopRequest"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds that several processes have to agree to stop, and then again to save everything: if one of them has died, the
# others would wait for it forever.
_PATIENCE = 60.0


class StopRequest:
    """Remembers, while it is entered, that one of the signals has arrived. A second signal acts at once, as usual.

    Has no effect outside a process's main thread.
    """

    def __init__(self) -> None:
        self._signal = 0
        self._before: dict[int, object] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self._restore()
        if kind is None and self._timer is not None:  # the run ended by itself
            self._timer.cancel()

    def agreed(self, iteration: int) -> bool:
        """Whether to stop now; all processes must ask after the same iterations, and they get the same answer.

        Several processes ask each other only every tenth iteration, because they have to wait for the answer.
        """
        if comm.get_world_size() == 1:
            return bool(self._signal)
        if iteration % 10:
            return False
        self._signal = max(comm.all_gather(self._signal))
        if self._signal:
            self._give_up_in(_PATIENCE)
        return bool(self._signal)

    def exit(self) -> None:
        """End the process with the status by which shells and schedulers recognise the signal."""
        comm.synchronize()
        sys.exit(128 + self._signal)

    def _remember(self, number: int, _frame) -> None:
        self._signal = number
        self._restore()
        print("\nstopping after this step; a second signal stops at once", file=sys.stderr, flush=True)
        if comm.get_world_size() > 1:
            self._give_up_in(_PATIENCE)

    def _give_up_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, os._exit, [128 + self._signal])
        self._timer.daemon = True
        self._timer.start()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
