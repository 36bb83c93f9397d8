"""The tasks on images: names that exist, presets that are complete, JSON there and back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from molaug.images.config import AVERAGES, CONFIGS, GROUPS
from molaug.images.losses import REDUCTIONS
from molaug.images.sources import OPENERS
from molaug.images.tasks import KINDS, build_group
from molaug.settings import generators_of, resolve

EVERY = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def test_names_are_those_of_the_modules_that_they_are_for():
    assert set(CONFIGS) == set(OPENERS)
    assert set(AVERAGES) == set(REDUCTIONS)
    assert {config.kind for config in CONFIGS.values()} <= set(KINDS)


@pytest.mark.parametrize("name", GROUPS)
def test_generators_are_those_of_the_group(name):
    assert generators_of(name) == build_group(name, "scalar")[0].names


@EVERY
def test_presets_fill_in_what_the_loop_needs(config):
    for preset in ("quick", "full"):
        resolved = resolve(config(preset=preset), gpu=False)
        needed = ("epochs", "batch_size", "channels", "layers", "rate")
        assert all(getattr(resolved, name) for name in needed)
        assert resolve(resolved, gpu=True) == resolved
        assert resolved.run_name == f"{config.task}-{preset}"
    assert resolve(config(), gpu=True).preset == "full"


@EVERY
def test_json_there_and_back_is_the_identity(config):
    for one in (config(), resolve(config(group="se2", generators=("r",)), gpu=False)):
        assert config.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@EVERY
def test_the_rewards_of_width_are_those_of_every_task(config):
    from molaug.config import QM9Config

    shared = ("freeze", "width_rate", "initial_width", "objective", "reward")
    assert [getattr(config(), name) for name in shared] == [
        getattr(QM9Config(), name) for name in shared
    ]


@EVERY
def test_every_field_says_what_it_is_for(config):
    for spec in dataclasses.fields(config):
        flag = spec.metadata["flag"]
        assert flag.help
        assert flag.unset or spec.default not in (None, ())
    with pytest.raises(ValueError, match=r"^--generators in so2: 'tx' is unknown"):
        config(group="so2", generators=("tx",))


def test_widths_of_every_image_take_one_device():
    assert CONFIGS["digits"](ranges="instance").devices == 1
    with pytest.raises(ValueError, match=r"^--ranges instance: takes one device"):
        CONFIGS["digits"](ranges="instance", devices=2)


def test_angles_have_no_classes_to_average():
    assert CONFIGS["digits"](mean_of="probabilities").mean_of == "probabilities"
    with pytest.raises(ValueError, match=r"^--mean-of probabilities: of classes, and faces has"):
        CONFIGS["faces"](mean_of="probabilities")


def test_channels_are_normalised_in_groups_of_eight():
    assert CONFIGS["digits"](channels=4, network=("c8",)).channels == 4
    with pytest.raises(ValueError, match=r"^--channels 12: give a multiple of 8"):
        CONFIGS["digits"](channels=12)


def test_ranges_of_sprites_stop_where_classes_meet():
    assert CONFIGS["sprites"](degrees=89.0).degrees == 89
    assert CONFIGS["sprites"](degrees=44.0, standing=True).standing
    with pytest.raises(ValueError, match=r"^--degrees 45: must be below 45"):
        CONFIGS["sprites"](degrees=45.0, standing=True)


def test_a_range_is_in_the_name_of_the_run():
    config = CONFIGS["digits"](preset="quick", degrees=90.0)
    assert config.run_name == "digits-quick-degrees=90.0"


def test_what_would_be_silently_wrong_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="--group colour: hue and saturation do not change"):
        CONFIGS["digits"](group="colour")
    assert CONFIGS["digits"](group="colour", generators=("brightness",))
    with pytest.raises(ValueError, match=r"--degrees 180\.05: must be at most 180"):
        CONFIGS["digits"](degrees=180.05)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="--ranges instance: takes one device"):
        CONFIGS["digits"](ranges="instance")
