"""The heap: memory that is freed is used again."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from molaug.heap import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this setting")
def test_tensors_that_are_freed_and_made_again_cause_no_page_faults():
    if not keep_freed_memory():
        pytest.skip("not glibc")
    before = [torch.ones(1_000_000) for _ in range(8)]
    del before
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        _ = [torch.ones(1_000_000) for _ in range(8)]  # 8,000 pages, if they were given back
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults < 8_000


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
