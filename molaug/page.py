"""One self-contained page about a comparison: what was learned, and what speaks for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .comparison import Finding, Line, compare, conclude, explain, findings, notes, titles
from .figures import Run, error_figures, training_figures, width_section
from .files import write_bytes
from .report import Row


def write_page(
    path: Path,
    rows: Sequence[Row],
    curves: Sequence[Mapping[str, Any]],
    histories: Sequence[Sequence[Mapping[str, float]]],
    *,
    command: Sequence[str],
    versions: Mapping[str, str],
    about: str,
) -> None:
    """One HTML file without any link to the network.

    rows, curves and histories belong together, one of each per run; see `measure_curves`. `about`
    says what it was measured on, in a line.
    """
    runs = [Run(*parts) for parts in zip(rows, curves, histories, strict=True)]
    learned = [run for run in runs if run.is_learned]
    body = [
        f"<h1>What was learned about symmetry</h1><p>{escape(about)}.</p>",
        *(lead(line) for line in compare(rows) if findings(line)),
        "" if learned else '<p class="lead">No run had widths to learn.</p>',
        *(evidence(line) for line in compare(rows)),
        section("Comparison", comparison(rows)),
        *(width_section(run, is_open=run is learned[0]) for run in learned),
        section("Errors along the symmetries", error_figures(runs)),
        section("Predictions and training", training_figures(runs)),
        section("How it was made", provenance(command, versions)),
    ]
    write_bytes(path, PAGE.format(style=STYLE, body="\n".join(body)).encode())


def lead(line: Line) -> str:
    """What is said first about one symmetry and network: its verdicts."""
    return f'<p class="lead">{escape(f"{line.label}: {conclude(line)}")}</p>'


def comparison(rows: Sequence[Row]) -> str:
    """The table, and what its numbers are."""
    lines = [line.cells for line in compare(rows)]
    return table(titles(rows[0]), lines) + note(" ".join(notes(rows)))


def table(head: Sequence[str], lines: Sequence[Sequence[str]], style: str = "numbers") -> str:
    """In a box of its own that scrolls; the first column names the line. Each cell carries the head
    of its column, which a table of `words` shows in place of the columns on a phone."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{cells(head[1:], *line)}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def cells(heads: Sequence[str], name: str, *values: str) -> str:
    pairs = zip(heads, values, strict=True)
    return f"<th>{escape(name)}</th>" + "".join(
        f'<td data-head="{escape(head)}">{escape(value)}</td>' for head, value in pairs
    )


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def evidence(line: Line) -> str:
    """The verdict on every generator, and why."""
    found = findings(line)
    if not found:
        return ""
    lines = [evidence_cells(one) for one in found]
    head = ["generator", "verdict", "width", "errors rise from", "why"]
    content = table(head, lines, "words") + note(f"{explain(line)} {WORDS}")
    return section(f"Verdict: {line.label}", content)


def evidence_cells(one: Finding) -> list[str]:
    rises = one.rises or ("nowhere" if one.found.verdict == "full" else "not known")
    return [one.full_name, one.found.verdict, f"±{one.width}", rises, one.found.reason]


WORDS = (
    "Full: a symmetry over the whole natural range. Partial: as far as the width, and no farther. "
    "Absent: none. Undecided: width and errors contradict each other, seeds differ, or nothing "
    "was learned."
)


def section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def provenance(command: Sequence[str], versions: Mapping[str, str]) -> str:
    """The exact command, and the versions of what computed."""
    items = ", ".join(f"{name} {version}" for name, version in versions.items())
    words = " ".join(f"<span>{escape(shlex.quote(word))}</span>" for word in command)
    return f'<pre class="scroll">{words}</pre><p>{escape(items)}</p>'


STYLE = """
:root{color-scheme:light dark;--paper:#f6f7f9;--card:#ffffff;--ink:#222222;--soft:#5a6270;
--line:#d9dde3}
@media (prefers-color-scheme:dark){:root{--paper:#121418;--card:#1b1e24;--ink:#dde1e6;
--soft:#a3abb8;--line:#343a44}}
*{box-sizing:border-box}
body{margin:0 auto;padding:16px;max-width:1180px;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2,summary{font-size:1.15rem;font-weight:600}
h2{margin:2rem 0 .5rem}summary{margin:2rem 0 .5rem;cursor:pointer}
p{max-width:46rem}.lead{font-size:1.1rem;padding-left:.75rem;border-left:4px solid #4477aa}
.note,figcaption{color:var(--soft);font-size:.875rem}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}
pre.scroll{padding:12px;font-size:.85rem;white-space:pre-wrap}pre span{white-space:pre}
table{border-collapse:collapse;font-size:.875rem;width:100%}
th,td{padding:8px 12px;text-align:right;border-bottom:1px solid var(--line);vertical-align:bottom;
font-variant-numeric:tabular-nums}
th:first-child{text-align:left;white-space:nowrap}tbody th{font-weight:400}
.numbers td{white-space:nowrap}
.words td,.words th{text-align:left;vertical-align:top;min-width:0}
.words td:last-child{min-width:12rem}
thead th{min-width:6.5rem}tbody tr:last-child>*{border-bottom:0}
@media (max-width:640px){th:first-child{white-space:normal}.words thead{display:none}
.words tr{display:block;padding:8px 0;border-bottom:1px solid var(--line)}
.words tr:last-child{border-bottom:0}.words tbody>tr>*{display:block;border:0;padding:1px 12px}
.words tbody th{font-weight:600}.words td::before{content:attr(data-head) ": ";color:var(--soft)}}
.grid{display:grid;gap:16px;align-items:start;
grid-template-columns:repeat(auto-fill,minmax(min(330px,100%),1fr))}
figure{margin:0;padding:8px;background:var(--card);border:1px solid var(--line);border-radius:8px;
max-width:560px}
figure svg{display:block;width:100%;height:auto}figcaption{padding:4px 8px}
"""

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>molaug: what was learned about symmetry</title><style>{style}</style></head>
<body>{body}</body></html>
"""
