"""Every test runs with the shapes and types that molaug's annotations promise checked."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# An int is a float to Python's type checkers (PEP 484), but not to beartype unless told.
check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
# Modules imported after this line are checked, so nothing above may import molaug.
install_import_hook("molaug", f"{__name__}.check_types")

hypothesis.settings.register_profile("molaug", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("molaug")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # there is a worker on every core already


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Every test starts from the same state of torch's generator, and with all floats, which a
    command that runs within the process makes fewer."""
    torch.manual_seed(0)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the test's own process, unless it asks for several."""
    from molaug import train

    monkeypatch.setattr(train, "AT_ONCE", 1)


@pytest.fixture(scope="session", autouse=True)
def data_outside_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever a test converts lands in a temporary folder, or where MOLAUG_DATA already points."""
    with pytest.MonkeyPatch.context() as patch:
        if "MOLAUG_DATA" not in os.environ:
            patch.setenv("MOLAUG_DATA", str(tmp_path_factory.mktemp("data")))
        yield
