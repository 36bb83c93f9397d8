"""Files are there as a whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from molaug.files import atomic, write_bytes, write_json

ROOT = Path(__file__).parents[1]


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


def test_two_processes_can_write_one_file(tmp_path):
    path = tmp_path / "run.json"
    code = "import sys; from molaug.files import write_bytes; from pathlib import Path; "
    code += "write_bytes(Path(sys.argv[1]), b'theirs')"
    with atomic(path) as file:
        file.write(b"ours")
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=ROOT)
        assert path.read_bytes() == b"theirs"
    assert path.read_bytes() == b"ours"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
