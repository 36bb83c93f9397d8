"""States and weights come back as they were, and nothing foreign is ever run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from molaug.checkpoint import (
    load_state,
    load_weights,
    read_configuration,
    save_state,
    save_weights,
)


class Trap:
    """What a hostile file would hold: unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_state_comes_back(tmp_path):
    state = {"step": 3, "weights": torch.randn(4), "history": [{"loss": 0.5}]}
    save_state(tmp_path / "state.pt", state)
    found = load_state(tmp_path / "state.pt")
    assert torch.equal(found.pop("weights"), state.pop("weights"))
    assert found == state


def test_the_trap_works(tmp_path):
    """Without the guard its code does run, or the next test would prove nothing."""
    torch.save({"step": Trap(tmp_path / "ran")}, tmp_path / "state.pt")
    torch.load(tmp_path / "state.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_code_in_a_state_is_refused_and_not_run(tmp_path):
    torch.save({"step": Trap(tmp_path / "ran")}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt: not a readable .* delete the run folder"):
        load_state(tmp_path / "state.pt")
    assert not (tmp_path / "ran").exists()


def test_a_truncated_state_is_refused_with_what_to_do(tmp_path):
    save_state(tmp_path / "state.pt", {"weights": torch.randn(1000)})
    content = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="delete the run folder"):
        load_state(tmp_path / "state.pt")


def test_weights_carry_their_configuration(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(tmp_path / "w.safetensors", model, {"channels": 3})
    load_weights(tmp_path / "w.safetensors", other)
    assert torch.equal(model.weight, other.weight)
    assert read_configuration(tmp_path / "w.safetensors") == {"channels": 3}


@pytest.mark.parametrize(("saved", "loaded"), [(True, False), (False, True)])
def test_a_surplus_or_missing_tensor_is_refused(tmp_path, saved, loaded):
    save_weights(tmp_path / "w.safetensors", nn.Linear(3, 2, bias=saved), {})
    with pytest.raises(ValueError, match="bias"):
        load_weights(tmp_path / "w.safetensors", nn.Linear(3, 2, bias=loaded))


def test_a_module_under_two_names_is_saved(tmp_path):
    """As in PyTorch Geometric's SchNet."""
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict({"one": shared, "other": shared})
    save_weights(tmp_path / "w.safetensors", model, {})
    fresh = nn.Linear(2, 2)
    load_weights(tmp_path / "w.safetensors", nn.ModuleDict({"one": fresh, "other": fresh}))
    assert torch.equal(fresh.weight, shared.weight)


def test_a_damaged_or_foreign_weights_file_gives_one_line(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"x")
    for read in (read_configuration, lambda p: load_weights(p, nn.Linear(2, 2))):
        with pytest.raises(ValueError, match=r"w\.safetensors: ") as caught:
            read(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(save(nn.Linear(2, 2).state_dict()))
    with pytest.raises(ValueError, match="not written by molaug"):
        read_configuration(path)
