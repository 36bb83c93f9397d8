"""The command line, derived from the fields of a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

from .options import Config, Flag, base_type, flag_of, is_many, suggest

C = TypeVar("C", bound=Config)


class Parser(argparse.ArgumentParser):
    """An argument parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parse(
    arguments: Sequence[str],
    configs: Mapping[str, type[C]],
    prog: str = "python -m molaug.train",
) -> C:
    """The configuration that the arguments ask for.

    Parameters
    ----------
    arguments : sequence of str
        Without the name of the program: `["qm9", "--target", "homo"]`.
    configs : mapping
        Name of each task -> the configuration whose fields are its flags.

    Raises
    ------
    SystemExit
        With 0 after --help; with 2, and one line on standard error, if anything is wrong.
    """
    name = _read_task(arguments, configs, prog)
    parser = build_parser(name, configs[name], prog)
    found, unknown = parser.parse_known_args(arguments[1:])
    if unknown:
        parser.error(_explain_unknown(unknown[0], configs[name]))
    try:
        return configs[name].from_dict(vars(found))
    except ValueError as error:
        parser.error(str(error))


def build_parser(name: str, config: type[Config], prog: str) -> Parser:
    """One flag per field, in the sections that the fields name."""
    parser = Parser(
        prog=f"{prog} {name}",
        usage=f"{prog} {name} [options]",
        description=config.__doc__,
        allow_abbrev=False,
    )
    hints = get_type_hints(config)
    sections: dict[str, Any] = {}
    for spec in fields(config):
        title = spec.metadata["flag"].section
        if title not in sections:
            sections[title] = parser.add_argument_group(title)
        sections[title].add_argument(flag_of(spec.name), **_describe(spec, hints[spec.name]))
    return parser


def _read_task(arguments: Sequence[str], configs: Mapping[str, type[C]], prog: str) -> str:
    tasks = "\n".join(f"  {name:10} {config.__doc__}" for name, config in configs.items())
    parser = Parser(
        prog=prog,
        usage=f"{prog} TASK [options]",
        description=f"tasks:\n{tasks}",
        epilog=f"{prog} TASK --help lists the options of a task.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        parser.print_help()
        parser.exit()
    if not name or name.startswith("-"):
        parser.error(f"name the task first: {', '.join(configs)}")
    if name not in configs:
        parser.error(f"unknown task '{name}': {suggest(name, list(configs))}")
    return name


def _describe(spec: Field[Any], hint: Any) -> dict[str, Any]:
    """The keywords of `add_argument` for a field."""
    flag: Flag = spec.metadata["flag"]
    # Flags that are not given stay absent, so that a default is written only in the field.
    shared = {"default": argparse.SUPPRESS, "help": _help(flag, spec.default)}
    if hint is bool:
        return shared | {"action": argparse.BooleanOptionalAction}
    kind = base_type(hint)
    nargs = "+" if is_many(hint) else None
    # A path is made by the configuration, which refuses an empty one.
    reader = kind if kind in (int, float) else str
    return shared | {"type": reader, "nargs": nargs, "metavar": _METAVARS[kind]}


_METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH"}


def _help(flag: Flag, default: Any) -> str:
    external = ("or FILE.py:NAME, a class or function of yours",) if flag.external else ()
    choices = f" ({', '.join((*flag.choices(), *external))})" if flag.choices() else ""
    return f"{flag.help}{choices} [{_show_default(flag, default)}]".replace("%", "%%")


def _show_default(flag: Flag, default: Any) -> str:
    if isinstance(default, tuple) and default:
        return " ".join(default)
    if flag.unset and default in (None, (), ""):
        return flag.unset
    return f"{default:.3g}" if isinstance(default, float) else str(default)


def _explain_unknown(word: str, config: type[Config]) -> str:
    flag = word.partition("=")[0]
    if not flag.startswith("-"):
        return f"'{word}' belongs to no option"
    hints = get_type_hints(config)
    known = [flag_of(spec.name) for spec in fields(config)]
    known += [flag_of(f"no_{spec.name}") for spec in fields(config) if hints[spec.name] is bool]
    hint = suggest(flag, known)
    return f"unknown option '{flag}': {hint if 'mean' in hint else 'see --help'}"
