"""The command line, derived from the fields of a configuration."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn, get_origin, get_type_hints

from .config import QM9Config, base_type, flag_of


class Parser(argparse.ArgumentParser):
    """One line for what is wrong, with the closest thing that would be right."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)


def build_parser(name: str, config: type[QM9Config], prog: str) -> Parser:
    """One flag per field, grouped by section, defaults shown."""
    parser = Parser(prog=f"{prog} {name}", description=config.__doc__, allow_abbrev=False)
    hints = get_type_hints(config)
    groups: dict[str, Any] = {}
    for spec in fields(config):
        section = spec.metadata["section"]
        groups.setdefault(section, parser.add_argument_group(section))
        _add(groups[section], spec, hints[spec.name])
    return parser


def _add(group: Any, spec: Any, hint: Any) -> None:
    many = get_origin(hint) is tuple
    default = " ".join(map(str, spec.default)) if many else spec.default
    text = spec.metadata["help"]
    choices = spec.metadata["choices"]
    if choices:
        text += f" ({' '.join(choices)})"
    if default not in (None, ""):
        text += f" [{default:.3g}]" if isinstance(default, float) else f" [{default}]"
    group.add_argument(
        flag_of(spec.name),
        type=base_type(hint),
        nargs="+" if many else None,
        default=argparse.SUPPRESS,
        metavar=base_type(hint).__name__.upper() if not choices else "NAME",
        help=text.replace("%", "%%"),
    )


def parse(
    arguments: Sequence[str],
    configs: Mapping[str, type[QM9Config]],
    prog: str = "python -m molaug.train",
) -> QM9Config:
    """The configuration that the arguments ask for.

    Exits with 0 after --help, and with 2 and one line on standard error for anything wrong.
    """
    outer = Parser(prog=prog, usage=f"{prog} {{{','.join(configs)}}} [options]")
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: {outer.usage}\n\ntasks: {', '.join(configs)}")
        print(f"options of a task: {prog} {next(iter(configs))} --help")
        raise SystemExit(0 if arguments else 2)
    name = arguments[0]
    if name not in configs:
        outer.error(_suggest(f"unknown task '{name}'", name, list(configs)))
    parser = build_parser(name, configs[name], prog)
    found, unknown = parser.parse_known_args(arguments[1:])
    if unknown:
        known = [flag_of(spec.name) for spec in fields(configs[name])]
        flag = unknown[0].split("=")[0]
        parser.error(_suggest(f"unknown option '{flag}'", flag, known))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(found).items()}
    try:
        return configs[name](**values)
    except ValueError as error:
        parser.error(str(error))


def _suggest(problem: str, word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"{problem}: did you mean '{close[0]}'?" if close else f"{problem}: see --help"
