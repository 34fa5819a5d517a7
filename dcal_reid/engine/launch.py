"""Start --num-gpus processes: one per GPU (nccl), or on the CPU as many (gloo)."""

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

    Under ``torchrun`` the processes are there already. Else fast-reid's flags count: ``num_gpus`` processes on each
    of ``num_machines`` machines, of which this is ``machine_rank``, meeting at ``dist_url``.

    Args:
        main: picklable.
        args: the parsed command line.
        device: MODEL.DEVICE, resolved: "cuda" or "cpu".

    Raises:
        InputError: no process, or more GPUs than there are, are asked for; machines do not know their number, or where
            to meet; a process was killed.
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
                f"--num-machines is {args.num_machines}, but they do not know where to meet; give --dist-url "
                "tcp://HOST:PORT with the name of the first machine and a free port of it"
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
                f"process {error.error_index} was ended by {error.signal_name}; go on with --resume"
            ) from error
        sys.exit(error.exit_code)  # the process has said why


@contextmanager
def _stopping(pids: list[int]) -> Iterator[None]:
    """The processes save and end, and so does this one: SIGTERM is passed on; Ctrl-C reaches all of them anyway."""

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
    """What ``init_process_group`` needs to know in a process that ``torchrun`` has started, perhaps not the first time.

    One store serves all attempts of --max-restarts, so each must not read the addresses that the one before has left in
    it (pytorch/pytorch#135712). Several machines do not count the attempts alike: theirs have no number.
    """
    store, rank, world_size = next(dist.rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else ""
    return {"store": dist.PrefixStore(f"attempt{attempt}", store), "rank": rank, "world_size": world_size}


def _join(local_rank: int, local_size: int, device: str, **meeting) -> None:
    """Enter the process group; fast-reid's ``comm`` learns which processes share this machine.

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
    # The others wait for as long while the first process scores, or the slowest extracts.
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=timedelta(hours=2), **meeting)
    for first in range(0, dist.get_world_size(), local_size):
        group = dist.new_group(range(first, first + local_size))
        if first <= dist.get_rank() < first + local_size:
            compat.set_local_process_group(group)
    comm.synchronize()


def _run(main: Callable, args) -> None:
    try:
        main(args)
        # Nobody leaves, and closes its connections, while others are still at work.
        comm.synchronize()
    finally:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
