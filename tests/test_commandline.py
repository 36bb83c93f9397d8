from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_type_hints

import pytest

from molaug.commandline import parse
from molaug.config import CONFIGS, QM9Config
from molaug.options import Config, base_type, flag_of, is_many, option


@dataclass(frozen=True)
class Toy(Config):
    """A toy task."""

    mirror: bool = option(True, "whether 100 % is mirrored", "shape", choices=())
    ratio: float = option(1 / 3, "height by width", "shape", above=0)
    colours: tuple[str, ...] = option(("red",), "colours", "look", choices=("red", "blue"))
    folder: Path | None = option(None, "where", "look", unset="here")


TASKS = {"toy": Toy}
SAMPLES = {int: "8", float: "0.25", Path: "somewhere/else"}


def _refused(capsys: pytest.CaptureFixture[str], line: str, tasks=CONFIGS) -> str:
    """What a line of arguments is answered on standard error, checked to be one line and exit 2."""
    with pytest.raises(SystemExit) as caught:
        parse(line.split(), tasks)
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def _help(capsys: pytest.CaptureFixture[str], line: str, tasks=CONFIGS) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(line.split(), tasks)
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (0, "")
    return " ".join(out.split())


def test_no_flags_give_the_defaults():
    assert parse(["qm9"], CONFIGS) == QM9Config()
    assert parse(["toy"], TASKS) == Toy()


@pytest.mark.parametrize("spec", fields(QM9Config), ids=lambda spec: spec.name)
def test_every_field_is_a_flag(spec):
    hint = get_type_hints(QM9Config)[spec.name]
    choices = spec.metadata["flag"].choices()
    text = choices[-1] if choices else SAMPLES.get(base_type(hint), "rx")
    value = getattr(parse(["qm9", flag_of(spec.name), text], CONFIGS), spec.name)
    value = value[0] if is_many(hint) else value
    assert type(value) is (type(Path()) if base_type(hint) is Path else base_type(hint))
    assert value == base_type(hint)(text)


def test_flags_take_several_values_signs_and_equals():
    line = "toy --colours blue red --no-mirror --ratio=2 --folder a/b"
    assert parse(line.split(), TASKS) == Toy(False, 2.0, ("blue", "red"), Path("a/b"))
    assert parse(["toy", "--no-mirror", "--mirror"], TASKS).mirror


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", f"name the task first: {', '.join(CONFIGS)}"),
        ("--target homo", f"name the task first: {', '.join(CONFIGS)}"),
        ("qm8", "unknown task 'qm8': did you mean 'qm9'?"),
        ("qm9 --tagret homo", "unknown option '--tagret': did you mean '--target'?"),
        ("qm9 --tagret=homo", "unknown option '--tagret': did you mean '--target'?"),
        ("qm9 --train_size 5", "unknown option '--train_size': did you mean '--train-size'?"),
        ("qm9 --epoch 5", "unknown option '--epoch': did you mean '--epochs'?"),
        ("qm9 --xyzzy", "unknown option '--xyzzy': see --help"),
        ("qm9 homo", "'homo' belongs to no option"),
        ("qm9 --target hommo", "--target 'hommo' is unknown: did you mean 'homo'?"),
        ("qm9 --symmetry learned fixd", "--symmetry 'fixd' is unknown: did you mean 'fixed'?"),
        ("qm9 --epochs 0", "--epochs 0: must be at least 1"),
        ("qm9 --rate -1", "--rate -1.0: must be above 0"),
        ("qm9 --epochs ten", "argument --epochs: invalid int value: 'ten'"),
        ("qm9 --epochs", "argument --epochs: expected one argument"),
    ],
)
def test_a_mistake_is_answered_in_one_line(capsys, line, answer):
    assert _refused(capsys, line).endswith(f": {answer}\n")


def test_a_misspelt_negation_suggests_it(capsys):
    assert "did you mean '--no-mirror'?" in _refused(capsys, "toy --no-miror", TASKS)
    assert "unknown option '--no-ratio'" in _refused(capsys, "toy --no-ratio", TASKS)


def test_a_switch_takes_no_value(capsys):
    assert "'False' belongs to no option" in _refused(capsys, "toy --mirror False", TASKS)


def test_a_mistake_is_answered_before_any_data_is_read(capsys, monkeypatch):
    from molaug.molecules import data
    from molaug.train import main

    monkeypatch.setattr(data, "load_qm9", lambda *_, **__: pytest.fail("read the data"))
    with pytest.raises(SystemExit) as caught:
        main(["qm9", "--target", "hommo"])
    assert caught.value.code == 2
    assert "did you mean 'homo'?" in capsys.readouterr().err


def test_help_of_a_task_shows_every_flag_its_choices_and_default(capsys):
    text = _help(capsys, "toy --help", TASKS)
    assert "A toy task." in text
    assert "--mirror, --no-mirror whether 100 % is mirrored [True]" in text
    assert "--ratio X height by width [0.333]" in text
    assert "colours (red, blue) [red]" in text
    assert "--folder PATH where [here]" in text
    assert text.index("shape:") < text.index("--ratio") < text.index("look:")


def test_help_names_tasks_and_all_options(capsys):
    assert "qm9" in _help(capsys, "--help")
    text = _help(capsys, "qm9 --help")
    assert all(f" {flag_of(spec.name)} " in text for spec in fields(QM9Config))
