"""The kernels for a GPU come to the same as the plain form: by the interpreter of Triton, where it
is installed, and on a GPU, where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "interpreted.py"


def differences(*arguments: str, **environment: str) -> dict[str, float]:
    path = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("this Triton does not interpret loops with this numpy")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check(found: dict[str, float]) -> None:
    assert len(found) == 8
    for name, difference in found.items():
        # The plain form in bfloat16 rounds more often than the kernels do.
        most = 2e-6 if "float32" in name else 0.05 if name == "network True" else 0.01
        assert difference < most, name


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
def test_kernels_come_to_the_same_by_the_interpreter():
    check(differences(TRITON_INTERPRET="1"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_kernels_come_to_the_same_on_a_gpu():
    check(differences("cuda"))
