"""Ctrl-C and SIGTERM: a run ends between two steps, with everything saved."""

import os
import signal
import sys
import threading

from fastreid.utils import comm

__all__ = ["StopRequest"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Of several processes one may have died, and the others then wait for it for ever: seconds until they have agreed to
# stop, and from then on until everything is saved.
_PATIENCE = 60.0


class StopRequest:
    """Remembers, while it is entered, that one of the signals has come. A second one acts at once, as it did before.

    Without effect outside a process's main thread.
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
        if kind is None and self._timer is not None:  # the run came to its end by itself
            self._timer.cancel()

    def agreed(self, iteration: int) -> bool:
        """Whether to stop now; all processes must ask after the same iterations, and get the same answer.

        Several processes ask each other every tenth iteration only, because the answer has to be waited for.
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
        """End the process with the status that shells and schedulers know the signal by."""
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
