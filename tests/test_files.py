"""Files are there as a whole or not at all."""

from __future__ import annotations

import json

import pytest

from molaug.files import atomic, remove_partial, write_bytes, write_json


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "kept"
    write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as file:
        file.write(b"half of the new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_nothing_is_visible_before_the_end(tmp_path):
    path = tmp_path / "new"
    with atomic(path) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"


def test_of_two_writers_at_a_time_each_writes_a_whole_file(tmp_path):
    path = tmp_path / "shared"
    with atomic(path) as first:
        first.write(b"first")
        first.flush()
        with atomic(path) as second:
            second.write(b"the second")
        assert path.read_bytes() == b"the second"
    assert path.read_bytes() == b"first"
    with pytest.raises(KeyboardInterrupt), atomic(path), atomic(path):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["shared"]


def test_what_a_killed_writer_leaves_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "mine.partial").touch()
    with atomic(tmp_path / "kept"):
        (left,) = tmp_path.glob("kept.*.partial")
    write_bytes(left, b"half of it")
    remove_partial(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["kept", "mine.partial"]
    remove_partial(tmp_path / "missing")


def test_folders_are_made_and_json_can_be_read_back(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"x": [1, 2.5, None]})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": [1, 2.5, None]}
