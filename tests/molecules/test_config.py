from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molaug import groups
from molaug.molecules import data, splits
from molaug.molecules.config import (
    FRAMES,
    GROUPS,
    NETWORKS,
    SCALAR_ONLY,
    SYMMETRIES,
    QM9Config,
    split_names,
    split_sizes,
    target_kind,
    target_names,
)
from molaug.objectives import build_objective
from molaug.options import flag_of
from molaug.settings import GENERATORS, OBJECTIVES, resolve


def _some(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), min_size=1, unique=True).map(tuple)


def _optional(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


def _is_possible(settings: dict) -> bool:
    scalar = target_kind(settings["target"]) == "scalar"
    if settings["generators"] and "augerino_compat" in settings["symmetry"]:
        return False
    return scalar or not {*settings["network"]} & {*SCALAR_ONLY}


SETTINGS = st.fixed_dictionaries(
    {
        "target": st.sampled_from(target_names()),
        "symmetry": _some(SYMMETRIES),
        "network": _some(NETWORKS),
        "preset": st.sampled_from(("auto", "quick", "full")),
        "seed": st.integers(0, 5),
        "generators": st.just(()) | _some(GENERATORS["se3"]),
        "frame": st.sampled_from(FRAMES),
        "split": st.sampled_from(split_names()),
        "train_size": _optional(st.integers(1, 100_000)),
        "rate": _optional(st.floats(1e-6, 1)),
        "reward": _optional(st.floats(0, 1)),
        "freeze": st.floats(0, 0.99),
        "run_dir": _optional(st.just(Path("runs/here"))),
    }
).filter(_is_possible)


# Validation


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("target", "hommo", "did you mean 'homo'"),
        ("target", "HOMO", "did you mean 'homo'"),
        ("target", "xyzzy", "choose from mu, alpha"),
        ("symmetry", ("lerned",), "did you mean 'learned'"),
        ("network", (), "give at least one value"),
        ("symmetry", ("fixed", "fixed"), "name nothing twice"),
        ("network", ("coordinate",), "did you mean 'coordinates'"),
        ("preset", "fast", "choose from auto, quick, full"),
        ("seed", -1, "at least 0"),
        ("seeds", 0, "at least 1"),
        ("group", "se2", "did you mean 'se3'"),
        ("initial_width", 0.0, "above 0"),
        ("initial_width", 1.0, "below 1"),
        ("width_rate", -0.1, "at least 0"),
        ("freeze", 1.0, "below 1"),
        ("freeze", -0.1, "at least 0"),
        ("reward", -1.0, "at least 0"),
        ("copies", 0, "at least 1"),
        ("test_copies", 0, "at least 1"),
        ("frame", "centered", "did you mean 'centred'"),
        ("split", "dimnet", "did you mean 'dimenet'"),
        ("train_size", 0, "at least 1"),
        ("train_size", 110_001, "from 1 to 110,000"),
        ("validation_size", 10_001, "from 1 to 10,000"),
        ("test_size", 10_832, "from 1 to 10,831"),
        ("test_size", 7, "at least 8"),
        ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("channels", 0, "at least 4"),
        ("layers", 0, "at least 1"),
        ("rate", 0.0, "above 0"),
        ("rate", float("nan"), "a finite number"),
        ("rate", float("inf"), "a finite number"),
        ("weight_decay", -1.0, "at least 0"),
        ("clip", 0.0, "above 0"),
        ("averaging", 1.0, "below 1"),
        ("precision", "bf16-mix", "did you mean 'bf16-mixed'"),
        ("device", "cuda", "choose from auto, cpu, gpu"),
        ("threads", 0, "at least 1"),
    ],
)
def test_an_impossible_value_is_refused_in_one_line(name, value, why):
    with pytest.raises(ValueError, match=why) as caught:
        QM9Config(**{name: value})
    message = str(caught.value)
    assert message.startswith(flag_of(name))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"epochs": "3"}, "--epochs '3': give a whole number"),
        ({"epochs": 3.0}, "--epochs 3.0: give a whole number"),
        ({"epochs": True}, "--epochs True: give a whole number"),
        ({"seed": None}, "--seed None: give a whole number"),
        ({"rate": "fast"}, "--rate 'fast': give a finite number"),
        ({"target": 3}, "--target 3: give a name"),
        ({"symmetry": "learned"}, "--symmetry 'learned': give several times a name"),
        ({"symmetry": ["learned", 3]}, "--symmetry 3: give a name"),
        ({"run_dir": ""}, "--run-dir '': give a path"),
        ({"epoch": 3}, "setting 'epoch' is unknown: did you mean 'epochs'?"),
    ],
)
def test_settings_of_a_wrong_type_or_name_are_refused(values, why):
    with pytest.raises(ValueError, match="^" + why.replace("?", r"\?")):
        QM9Config.from_dict(values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (
            {"target": "dipole", "network": ("coordinates", "schnet")},
            "--network schnet: predicts scalars only, and dipole is a vector",
        ),
        (
            {"network": ("visnet",), "channels": 12},
            "--channels 12: visnet takes multiples of its 8 heads",
        ),
        (
            {"directions": "learned", "generators": ("rx", "rz")},
            "--generators rx rz: learned directions turn within all of rx ry rz tx ty tz",
        ),
        (
            {"directions": "learned", "symmetry": ("fixed", "none")},
            "--directions learned: takes --symmetry learned",
        ),
        (
            {"symmetry": ("learned", "augerino_compat"), "generators": ("rx", "tz")},
            "--generators rx tz: augerino_compat learns the widths of all of the group",
        ),
        (
            {"network": ("e3nn",), "partial_charges": 0.1},
            "--partial-charges: takes the networks coordinates vectors distances, not e3nn",
        ),
    ],
)
def test_what_no_run_of_the_grid_could_do_is_refused_before_any(values, why):
    with pytest.raises(ValueError, match="^" + why):
        QM9Config(**values)


def test_learned_directions_take_other_generators_besides():
    rigid = GENERATORS["se3"]
    assert QM9Config(group="aff3", directions="learned", generators=(*rigid, "scale")).generators
    assert QM9Config(directions="learned").generators == ()


@pytest.mark.parametrize("group", GROUPS)
def test_generators_are_those_of_the_group(group):
    assert GENERATORS[group] == tuple(member.name for member in groups.GROUPS[group].members)
    for name in GENERATORS["aff3"]:
        if name in GENERATORS[group]:
            assert QM9Config(group=group, generators=(name,)).generators == (name,)
        else:
            with pytest.raises(ValueError, match=f"^--generators in {group}: '{name}' is unknown"):
                QM9Config(group=group, generators=(name,))


def test_names_are_those_of_the_modules_that_they_are_for():
    assert FRAMES == data.FRAMES
    assert split_names() == splits.SPLITS
    assert len({type(build_objective(name)) for name in OBJECTIVES}) == len(OBJECTIVES)


@pytest.mark.parametrize("name", split_names())
def test_sizes_are_those_of_the_split(name):
    rows = splits.split(splits.QM9_COUNT, name)
    sizes = split_sizes(name)
    assert list(sizes.values()) == [len(rows.train), len(rows.validation), len(rows.test)]
    QM9Config(split=name, **sizes)
    for key, size in sizes.items():
        with pytest.raises(ValueError, match=f"^{flag_of(key)} {size + 1}: .* split {name} has"):
            QM9Config(split=name, **{key: size + 1})


@pytest.mark.parametrize("spec", dataclasses.fields(QM9Config), ids=lambda spec: spec.name)
def test_every_field_says_what_it_is_for(spec):
    flag = spec.metadata["flag"]
    assert flag.help
    assert flag.section
    assert flag.unset or spec.default not in (None, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(QM9Config(), spec.name, spec.default)


# JSON


@given(settings=SETTINGS)
def test_json_there_and_back_is_the_identity(settings):
    config = QM9Config(**settings)
    plain = config.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert QM9Config.from_dict(plain) == config


# Presets


@given(settings=SETTINGS, gpu=st.booleans())
def test_resolving_fills_in_and_overrides_nothing(settings, gpu):
    config = QM9Config(**settings)
    resolved = resolve(config, gpu)
    before, after = vars(config), vars(resolved)
    changed = {name for name in before if before[name] != after[name]}
    assert all(before[name] is None for name in changed - {"preset"})
    filled = {"train_size", "validation_size", "test_size"}
    filled |= {*QM9Config.usual, *QM9Config.presets["quick"]}
    assert not any(after[name] is None for name in filled)
    assert resolve(resolved, not gpu) == resolved


@pytest.mark.parametrize(("gpu", "preset"), [(False, "quick"), (True, "full")])
def test_auto_follows_the_device(gpu, preset):
    assert resolve(QM9Config(), gpu) == resolve(QM9Config(preset=preset), not gpu)
    assert resolve(QM9Config(), gpu).preset == preset


@pytest.mark.parametrize("name", split_names())
def test_full_trains_on_all_of_any_split(name):
    resolved = resolve(QM9Config(preset="full", split=name), gpu=True)
    assert resolved.train_size == split_sizes(name)["train_size"]
    assert resolved.test_size == split_sizes(name)["test_size"]


# Names of runs


@given(first=SETTINGS, second=SETTINGS, gpu=st.booleans())
def test_runs_that_compute_something_else_have_another_name(first, second, gpu):
    shared = {"symmetry": ("learned",), "network": ("coordinates",), "run_dir": None}
    first, second = (resolve(QM9Config(**some | shared), gpu) for some in (first, second))
    assert (first.run_name == second.run_name) == (first == second)


@pytest.mark.parametrize("spec", dataclasses.fields(QM9Config), ids=lambda spec: spec.name)
def test_a_setting_is_in_the_name_unless_it_is_of_the_grid_or_the_place(spec):
    other = {
        **{"target": "lumo", "symmetry": ("none",), "network": ("vectors",), "group": "so3"},
        **{"generators": ("rz",), "objective": "norm", "frame": "random", "split": "random"},
        **{"optimizer": "adamw", "precision": "bf16-mixed", "device": "cpu", "preset": "full"},
        **{"run_dir": Path("a"), "qm9_dir": Path("a"), "seed": 7, "seeds": 7, "threads": 7},
        **{"train_size": 7, "validation_size": 7, "test_size": 8, "epochs": 7},
        **{"batch_size": 7, "channels": 7, "layers": 7, "copies": 7, "test_copies": 7},
        **{"initial_width": 0.7, "width_rate": 0.7, "freeze": 0.7, "reward": 0.7, "rate": 0.7},
        **{"weight_decay": 0.7, "clip": 0.7, "averaging": 0.7, "probing": 0.7},
        **{"directions": "learned", "devices": 2, "schedule": "cosine"},
        **{"jobs": 2, "engine": "plain"},
        **{"partial_charges": 0.7, "properties": 0.7, "jitter": 0.7},
    }
    usual = resolve(QM9Config(preset="quick"), gpu=False)
    changed = resolve(QM9Config(**{"preset": "quick", spec.name: other[spec.name]}), gpu=False)
    unnamed = {"symmetry", "network", "seeds", "run_dir", "qm9_dir", "device", "devices", "threads"}
    unnamed |= {"engine", "jobs"}
    assert (usual.run_name == changed.run_name) == (spec.name in unnamed)


def test_a_name_is_short_and_fits_a_folder():
    assert QM9Config().run_name == "qm9-homo"
    assert resolve(QM9Config(), gpu=False).run_name == "qm9-homo-quick"
    config = QM9Config(target="dipole_z", frame="random", generators=("rx", "tz"), preset="full")
    assert config.run_name == "qm9-dipole_z-full-generators=rx+tz-frame=random"
    assert resolve(config, gpu=True).run_name == config.run_name
    split = QM9Config(split="cormorant", preset="full")
    assert resolve(split, gpu=True).run_name == "qm9-homo-full-split=cormorant"
