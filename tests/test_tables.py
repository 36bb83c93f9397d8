"""The tables of the pages are what the commands make of the committed results."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    return importlib.import_module("tables")


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_experiment_finds_what_it_imports(path, monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    importlib.import_module(path.stem)


def test_a_table_takes_its_place_and_nothing_else_changes(tables, monkeypatch, tmp_path):
    first, page = tmp_path / "first.md", tmp_path / "second.md"
    monkeypatch.setattr(tables, "PAGES", [first, page])
    first.write_text("nothing\n")
    page.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n")
    tables.write_table("a", tables.markdown(["x", "y"], [["1", "2"]]))
    expected = "before\n<!-- a: begin -->\n| x | y |\n| --- | --- |\n| 1 | 2 |\n<!-- a: end -->\n"
    assert page.read_text() == expected + "after\n"
    assert first.read_text() == "nothing\n"
    with pytest.raises(ValueError, match="no place for a table: <!-- b: begin -->"):
        tables.write_table("b", "")


def test_the_recovery_table_is_that_of_its_results(tables):
    assert tables.read_table("recovery") == importlib.import_module("recovery").table()


def test_the_table_of_images_is_that_of_its_results(tables):
    assert tables.read_table("images") == importlib.import_module("images").table()


def test_the_tables_of_speed_are_those_of_their_results(tables):
    record = json.loads((tables.RESULTS / "speed-cpu.json").read_text())
    assert tables.read_table("speed") == importlib.import_module("speed").table(record)
    frontier = importlib.import_module("frontier")
    assert tables.read_table("frontier") == frontier.table(frontier.gather())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ablation",
            "speedrun",
            "opponents",
            "few",
            "dipole",
            "standing",
            "qm9_homo_lumo",
            "compat",
        ),
        "whole",
    ],
)
def test_the_tables_of_runs_are_those_of_their_results(tables, name):
    assert tables.read_table(name) == importlib.import_module(name).table("cpu")


def test_the_picture_of_standing_molecules_is_that_of_its_results(tables):
    standing = importlib.import_module("standing")
    drawn = (tables.RESULTS / "standing.svg").read_text()
    assert drawn == standing.draw(standing.read_results("cpu")["rows"])


@pytest.mark.parametrize("size", ["long", "relative"])
def test_the_tables_of_long_runs_are_those_of_their_results(tables, size):
    made = importlib.import_module("ablation").table(size)
    assert tables.read_table(f"ablation-{size}") == made


def test_the_scale_table_is_that_of_its_results(tables):
    assert tables.read_table("scale") == importlib.import_module("scale").table()


def test_a_table_of_another_size_is_written_over_no_other(tables, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- a: begin -->\nold\n<!-- a: end -->\n")
    monkeypatch.setattr(tables, "PAGES", [page])
    for size, written in (("gpu", "old"), ("cpu", "of cpu")):
        monkeypatch.setattr("sys.argv", ["a.py", size, "--table"])
        tables.run_command("a", ["cpu", "gpu"], lambda size: None, lambda size: f"of {size}\n")
        assert page.read_text() == f"<!-- a: begin -->\n{written}\n<!-- a: end -->\n"
    assert capsys.readouterr().out == "of gpu\n\n"
