"""Files are there as a whole or not at all."""

from __future__ import annotations

import json

import pytest

from molaug.files import atomic, write_bytes, write_json


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


def test_folders_are_made_and_json_can_be_read_back(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"x": [1, 2.5, None]})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": [1, 2.5, None]}
