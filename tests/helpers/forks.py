"""Run programs in processes forked from one that has imported everything, because the imports take seconds."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["dcal_reid.engine"])


def fork(command, output=os.devnull, errors=os.devnull, **environment):
    """Start ``python PROGRAM ARGUMENT ...`` without the time for its imports. Returns the process.

    Args:
        command: the program's file, and its arguments.
        output, errors: the files for what it prints.
        environment: variables besides those of this process.
    """
    arguments = ([str(word) for word in command], os.getcwd(), os.environ | environment, (output, errors))
    process = _CONTEXT.Process(target=_program, args=arguments)
    process.start()
    return process


def run_forked(command, environments=({},), seconds=300):
    """Run a program to its end, in all of the environments at the same time. Returns what ``subprocess.run`` does, with
    the output of the first and the errors of all."""
    with tempfile.TemporaryDirectory() as folder:
        files = [(Path(folder, f"{i}.out"), Path(folder, f"{i}.err")) for i in range(len(environments))]
        processes = [fork(command, *pair, **one) for pair, one in zip(files, environments, strict=True)]
        for process in processes:
            process.join(seconds)
            process.kill()
            process.join()
        code = next((process.exitcode for process in processes if process.exitcode), 0)
        return subprocess.CompletedProcess(
            command, code, files[0][0].read_text(), "".join(errors.read_text() for _, errors in files)
        )


def run_ranks(function, arguments, number):
    """Call ``function(rank, *arguments)`` in that many processes, to their end."""
    torch.multiprocessing.start_processes(function, arguments, number, start_method="forkserver")


def _program(command, folder, environment, outputs):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # PyTorch reads this when it is imported; the parent process did so with an environment of its own.
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
