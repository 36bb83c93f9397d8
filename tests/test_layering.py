"""Who may import whom. Imports only go left, and what is light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import molaug

ROOT = Path(molaug.__file__).parents[1]
HEAVY = ("torch", "torch_geometric", "lightning_fabric", "e3nn", "rdkit", "numpy")

LINE = (
    *("exponentials", "groups", "distributions"),
    *("augmentation", "averaging", "objectives", "task"),
)
DOMAINS = ("molecules", "images")
# Written without torch, for the command line to know what it can be asked for.
CONFIGS = {f"{domain}.config" for domain in DOMAINS}

# What each module outside LINE and DOMAINS may see. "files" is the leftmost of all.
BESIDE = {
    "files": set(),
    "split": {"files"},
    "pictures": set(),
    "heap": set(),
    "engine": set(),
    "muon": set(),
    "compat": {"groups", "distributions"},
    "checkpoint": {*LINE, "external", "files"},
    "verdict": {*LINE, "costs", "evaluate", "files"},
    "costs": {*LINE},
    "evaluate": {*LINE, "files"},
    "timetable": set(),
    "recipe": {*LINE, "muon", "timetable"},
    "processes": {"heap"},
    "history": {"files"},
    "update": {*LINE, "recipe"},
    "loop": {
        *LINE,
        *("checkpoint", "costs", "engine", "evaluate", "files", "history", "processes", "recipe"),
        *("timetable", "update"),
    },
    "report": {*LINE, "files", "pictures", "evaluate", "verdict"},
    "comparison": {*LINE, "report", "verdict"},
    "gauges": {"pictures"},
    "figures": {*LINE, "evaluate", "report", "pictures", "gauges"},
    "page": {*LINE, "files", "evaluate", "report", "comparison", "figures"},
    "external": set(),
    "options": {"external"},
    "settings": {"options"},
    "config": {"settings", *CONFIGS},
    "commandline": {"options"},
    "folder": {"checkpoint", "files", "processes", "settings"},
    "slurm": {"commandline", "config", "files"},
}
# The ends of the line see everything but each other; the package only names what is public.
ENDS = {"train", "predict", "attach"}


def allowed(module: str) -> set[str]:
    """The modules, or whole domains, that a module may import."""
    if module in BESIDE:
        return BESIDE[module]
    if module in LINE:
        return {*LINE[: LINE.index(module)], "files"}
    if module == "cell":
        return {*LINE, *DOMAINS, *BESIDE, "train"}
    if module in ENDS:
        return {*LINE, *DOMAINS, *BESIDE}
    domain, _, name = module.partition(".")
    if domain in DOMAINS:
        special = {
            "config": {"options", "settings"},
            "targets": {"options"},
            "splits": {"options"},
            "read": {"options"},
            "from_files": {"checkpoint", "options", "settings"},
            "tasks": {"checkpoint"},
            "networks": {"external"},
            "pictures": {"pictures", "evaluate"},
        }.get(name, set())
        return {*LINE, "files", "split", "compat", domain, *special}
    raise LookupError(f"molaug/{module.replace('.', '/')}.py has no place in the layering yet")


def imports(source: str, module: str) -> Iterator[str]:
    """The modules of molaug that a source text imports anywhere, without the leading `molaug.`."""
    package = f"molaug.{module}".split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            targets = [_inside(base, alias.name) for alias in node.names]
        else:
            continue
        yield from (t.partition(".")[2] for t in targets if t.split(".")[0] == "molaug")


def _inside(base: str, name: str) -> str:
    """`from molaug import task` imports a module, `from molaug.task import Task` a name in one."""
    path = ROOT / base.replace(".", "/")
    is_module = (path / f"{name}.py").exists() or (path / name).is_dir()
    return f"{base}.{name}" if is_module else base


def violations(source: str, module: str) -> list[str]:
    """What a module of molaug imports and may not."""
    seen = allowed(module)
    return [
        target or "molaug itself"
        for target in imports(source, module)
        if target not in seen and target.partition(".")[0] not in seen
    ]


def modules() -> list[str]:
    """All of them but `__init__`, as `task` or `molecules.data`."""
    paths = (ROOT / "molaug").rglob("*.py")
    parts = [path.relative_to(ROOT / "molaug").with_suffix("").parts for path in paths]
    return sorted(".".join(part) for part in parts if part[-1] != "__init__")


@pytest.mark.parametrize("module", modules())
def test_imports_go_left(module):
    path = ROOT / "molaug" / f"{module.replace('.', '/')}.py"
    assert violations(path.read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "source", "bad"),
    [
        ("groups", "from molaug.distributions import Uniform", "distributions"),
        ("groups", "from .distributions import Uniform", "distributions"),
        ("task", "def f():\n    import molaug.molecules.data", "molecules.data"),
        ("task", "from molaug import images", "images"),
        ("loop", "from .config import QM9Config", "config"),
        ("loop", "from molaug import QM9Config", "molaug itself"),
        ("evaluate", "from . import loop", "loop"),
        ("molecules.data", "from ..images.data import load", "images.data"),
        ("molecules.data", "if TYPE_CHECKING:\n    from molaug.config import X", "config"),
        ("images.tasks", "from molaug.molecules.batch import MoleculeBatch", "molecules.batch"),
        ("config", "from .groups import GROUPS", "groups"),
        ("config", "from .molecules.data import FRAMES", "molecules.data"),
        ("molecules.tasks", "from molaug.config import CONFIGS", "config"),
        ("train", "from .predict import main", "predict"),
    ],
)
def test_a_violation_is_seen(module, source, bad):
    assert violations(source, module) == [bad]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("averaging", "from .augmentation import Augmentation\nimport torch"),
        ("molecules.tasks", "from .config import QM9Config\nfrom . import targets"),
        ("molecules.data", "from .batch import MoleculeBatch"),
        ("train", "from .molecules.tasks import build_task\nfrom .config import QM9Config"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations(source, module) == []


def test_a_module_without_a_place_is_noticed():
    with pytest.raises(LookupError, match=r"molaug/utils\.py has no place"):
        violations("", "utils")


def _loaded(code: str) -> set[str]:
    """The heavy packages that are imported after running some code in a fresh interpreter."""
    check = f"\nimport sys\nprint(*(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    command = [sys.executable, "-c", code + check]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_loads_nothing_heavy():
    assert _loaded("import molaug, molaug.config, molaug.commandline") == set()
    assert "torch" in _loaded("import molaug; molaug.SE3")


def test_networks_load_e3nn_only_when_it_is_asked_for():
    assert "e3nn" not in _loaded("from molaug.molecules import networks")


@pytest.mark.parametrize("arguments", [["--help"], ["qm9", "--help"], ["digits", "--help"]])
def test_help_does_not_load_torch(arguments):
    code = (
        "import contextlib\nfrom molaug.train import main\n"
        f"with contextlib.suppress(SystemExit):\n    main({arguments})"
    )
    assert _loaded(code) <= {"numpy"}


@pytest.mark.parametrize("name", molaug.__all__)
def test_public_names_exist(name):
    assert getattr(molaug, name) is getattr(molaug, name)
    assert name in dir(molaug)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'molaug' has no attribute 'SO4'"):
        molaug.SO4  # noqa: B018


def test_annotations_are_checked_while_tests_run():
    import torch
    from jaxtyping import TypeCheckError

    with pytest.raises(TypeCheckError):
        molaug.SO3().exp(torch.zeros(5, 4))
    molaug.SO3().exp(torch.zeros(5, 3))
