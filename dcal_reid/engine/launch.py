"""Start --num-gpus processes: one per GPU (nccl), or as many on the CPU (gloo)."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from fastreid.utils import comm
from torch import multiprocessing

from .. import compat
from ..errors import InputError, exit_on_input_error

__all__ = ["launch"]


def launch(main: Callable, args, *, device: str) -> None:
    """Call ``main(args)`` in every process of the job.

    Under ``torchrun`` the processes exist already. Otherwise fast-reid's flags apply: ``num_gpus`` processes on each of
    ``num_machines`` machines, of which this one is ``machine_rank``, with their rendezvous at ``dist_url``.

    Args:
        main: picklable.
        args: the parsed command line.
        device: MODEL.DEVICE, resolved: "cuda" or "cpu".

    Raises:
        InputError: fewer than one process or more GPUs than there are; several machines without a valid
            ``machine_rank`` or without a ``dist_url``; a process was killed.
    """
    if "WORLD_SIZE" in os.environ and "RANK" in os.environ:
        place = (int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        _join(*place, device, **_meeting_of_torchrun())
        _run(main, args)
        return
    if args.num_gpus < 1 or args.num_machines < 1:
        raise InputError(
            f"--num-gpus is {args.num_gpus} and --num-machines {args.num_machines}; give at least 1 of each. "
            "On the CPU --num-gpus is the number of processes"
        )
    if not 0 <= args.machine_rank < args.num_machines:
        raise InputError(
            f"--machine-rank is {args.machine_rank}; of {args.num_machines} machine(s) the first is 0 and the last "
            f"{args.num_machines - 1}"
        )
    world_size = args.num_gpus * args.num_machines
    if world_size == 1:
        main(args)
        return
    if device == "cuda" and args.num_gpus > torch.cuda.device_count():
        raise InputError(f"--num-gpus {args.num_gpus}, but this machine has {torch.cuda.device_count()}")
    url = args.dist_url
    if url == "auto":
        if args.num_machines > 1:
            raise InputError(
                f"--num-machines is {args.num_machines}, but --dist-url does not say where they meet; give it as "
                "tcp://HOST:PORT with the name of the first machine and a free port on it"
            )
        url = f"tcp://127.0.0.1:{_free_port()}"
    context = multiprocessing.start_processes(
        _worker, (main, args, world_size, url, device), nprocs=args.num_gpus, join=False, start_method="spawn"
    )
    try:
        with _stopping(context.pids()):
            while not context.join():
                pass
    except multiprocessing.ProcessExitedException as error:
        if error.signal_name:
            raise InputError(
                f"process {error.error_index} was killed by {error.signal_name}; continue with --resume"
            ) from error
        sys.exit(error.exit_code)  # the process has printed the reason


@contextmanager
def _stopping(pids: list[int]) -> Iterator[None]:
    """Let the processes save and end, and then this one: SIGTERM is passed on; Ctrl-C reaches all of them anyway."""

    def pass_on(number: int, _frame) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker(local_rank: int, main: Callable, args, world_size: int, url: str, device: str) -> None:
    rank = args.machine_rank * args.num_gpus + local_rank
    _join(local_rank, args.num_gpus, device, init_method=url, rank=rank, world_size=world_size)
    exit_on_input_error(_run, main, args)


def _meeting_of_torchrun() -> dict:
    """Arguments of ``init_process_group`` in a process that ``torchrun`` has started or restarted.

    One store serves all attempts of --max-restarts, so no attempt must read the addresses that the previous one left in
    it (pytorch/pytorch#135712). Several machines may count their attempts differently, so theirs are not numbered.
    """
    store, rank, world_size = next(dist.rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else ""
    return {"store": dist.PrefixStore(f"attempt{attempt}", store), "rank": rank, "world_size": world_size}


def _join(local_rank: int, local_size: int, device: str, **meeting) -> None:
    """Join the process group, and tell fast-reid's ``comm`` which processes share this machine.

    Raises:
        InputError: there is no GPU for this process.
    """
    if device == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise InputError(
                f"LOCAL_RANK is {local_rank}, but this machine has {torch.cuda.device_count()} GPUs; lower "
                "--nproc-per-node, or use MODEL.DEVICE cpu"
            )
        torch.cuda.set_device(local_rank)
    else:
        share = max(1, (os.cpu_count() or 1) // local_size)
        torch.set_num_threads(min(share, torch.get_num_threads()))  # OMP_NUM_THREADS may ask for fewer
    # How long the others wait at most while the first process scores, or the slowest extracts features.
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=timedelta(hours=2), **meeting)
    for first in range(0, dist.get_world_size(), local_size):
        group = dist.new_group(range(first, first + local_size))
        if first <= dist.get_rank() < first + local_size:
            compat.set_local_process_group(group)
    comm.synchronize()


def _run(main: Callable, args) -> None:
    try:
        main(args)
        # No process leaves and closes its connections while others are still at work.
        comm.synchronize()
    finally:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
