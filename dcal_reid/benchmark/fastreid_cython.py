"""fast-reid's compiled ranking, built in a temporary copy: the reference for a benchmark, used nowhere else."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import fastreid
import numpy as np

from ..errors import InputError

__all__ = ["compiled_ranking"]


def compiled_ranking() -> Callable:
    """fast-reid's ``evaluate_cy``.

    Raises:
        InputError: Cython or a C compiler is missing.
    """
    source = Path(fastreid.__file__).parent / "evaluation" / "rank_cylib"
    folder = Path(tempfile.mkdtemp(prefix="rank_cylib-"))
    try:
        shutil.copy(source / "rank_cy.pyx", folder)
        build = [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "rank_cy.pyx"]
        environment = os.environ | {"CFLAGS": f"{os.environ.get('CFLAGS', '')} -I{np.get_include()}"}
        done = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"fast-reid's ranking cannot be compiled (it needs pip install cython and gcc): {last}")
        spec = importlib.util.spec_from_file_location("rank_cy", next(folder.glob("rank_cy*.so")))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.evaluate_cy
    finally:
        shutil.rmtree(folder)
