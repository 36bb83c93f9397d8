"""The figures of the page: pictures of runs, each with what it was measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .gauges import Bar, bar_chart, dial_chart
from .pictures import (
    Axis,
    Series,
    curve_chart,
    even_axis,
    line_chart,
    scatter_chart,
)
from .report import Row, law_lines


@dataclass(frozen=True)
class Run:
    """A row of the comparison, the curves of its trained model, and a row per epoch."""

    row: Row
    curves: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]

    @property
    def cell(self) -> str:
        """Its name without the seed."""
        return f"{self.row['symmetry']} {self.row['network']}"

    @property
    def name(self) -> str:
        return f"{self.cell}, seed {self.row['seed']}"

    @property
    def widths(self) -> dict[str, dict[str, Any]]:
        """Of the generators that may move."""
        found = self.row["widths"].items()
        return {name: w for name, w in found if w["initial"] or w["learned"]}

    @property
    def is_learned(self) -> bool:
        return any(w["initial"] != w["learned"] for w in self.widths.values())


def in_units(value: float, unit: str) -> float:
    """Radian as degrees, anything else as it is."""
    return math.degrees(value) if unit == "rad" else value


def unit_name(unit: str) -> str:
    return {"rad": "degrees", "A": "Å"}.get(unit, unit)


def short_unit(unit: str) -> str:
    """To follow a number in a picture."""
    return "°" if unit == "rad" else f" {unit_name(unit)}".rstrip()


def number(value: float) -> str:
    """Three digits at most, and no exponent for everyday numbers."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"


def figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def grid(figures: Sequence[str]) -> str:
    """Side by side where there is room, below each other where there is not."""
    return f'<div class="grid">{"".join(figures)}</div>'


def width_section(run: Run, *, is_open: bool) -> str:
    """The learned law of one run: bars, epochs, dials, copies."""
    figures = [width_bars(run), width_history(run)]
    rotations = {n: w["learned"] for n, w in run.widths.items() if w["kind"] == "rotation"}
    if rotations:
        more = "".join(f" {line}." for line in law_lines(run.row))
        about = " about each axis" if len(rotations) > 1 else ""
        caption = f"Angles{about}, {measured_in_training(run)}{more}"
        figures.append(figure(dial_chart("How far each rotation opened", rotations), caption))
    if "drawing" in run.curves:
        caption = (
            f"One of the test {run.row['examples']} and copies, moved by the law of {run.name}."
        )
        figures.append(figure(run.curves["drawing"], caption))
    state = ' open="open"' if is_open else ""
    title = f"<summary>The learned widths: {escape(run.name)}</summary>"
    return f"<details{state}>{title}{grid(figures)}</details>"


def measured_in_training(run: Run) -> str:
    return f"{run.name}, learned on {run.row['train_count']:,} training {run.row['examples']}."


def width_bars(run: Run) -> str:
    bars = {}
    for name, w in run.widths.items():
        shown = [number(in_units(w[key], w["unit"])) for key in ("learned", "cap")]
        label = f"±{shown[0]} of {shown[1]}{short_unit(w['unit'])}"
        true = run.row.get("true_widths", {}).get(name)
        bars[name] = Bar(
            initial=min(w["initial"] / w["cap"], 1.0),
            learned=min(w["learned"] / w["cap"], 1.0),
            true=None if true is None else min(true / w["cap"], 1.0),
            label=label,
        )
    return figure(bar_chart("Width of every generator", bars), measured_in_training(run))


def width_history(run: Run) -> str:
    lines = {
        f"{name}, of ±{number(in_units(w['cap'], w['unit']))}{short_unit(w['unit'])}": [
            min(width / w["cap"], 1.0)
            for width in (w["initial"], *(row[f"width_{name}"] for row in run.history))
        ]
        for name, w in run.widths.items()
    }
    chart = line_chart("Widths over training", "epoch", "share of range", lines, y_max=1.0)
    return figure(chart, measured_in_training(run))


def by_cell(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The seeds of every symmetry and network."""
    cells = dict.fromkeys(run.cell for run in runs)
    return {cell: [run for run in runs if run.cell == cell] for cell in cells}


def mean(columns: Sequence[Sequence[float]]) -> list[float]:
    """Over the seeds, value by value."""
    return [sum(values) / len(values) for values in zip(*columns, strict=True)]


def averaged_series(
    runs: Sequence[Run], curve: str, key: str, name: str = "", factor: float = 1.0
) -> dict[str, Series]:
    """A line per symmetry and network, averaged over seeds, of errors against `key`."""
    series = {}
    for cell, seeds in by_cell(runs).items():
        found = [run.curves[curve][name] if name else run.curves[curve] for run in seeds]
        errors = mean([one["error"] for one in found])
        points = [(v * factor, e) for v, e in zip(found[0][key], errors, strict=True)]
        series[cell] = Series(points, mean([one["standard_error"] for one in found]))
    return series


def error_axis(unit: str, series: Mapping[str, Series], label: str = "test error") -> Axis:
    """From zero to the largest error drawn."""
    return even_axis(f"{label} [{unit}]", 0.0, highest(series), start=0.0)


def highest(series: Mapping[str, Series]) -> float:
    return max(height for one in series.values() for _, height in one.points)


def error_figures(all_runs: Sequence[Run]) -> str:
    """Error along the orbit of every generator of the first run, one figure each."""
    runs = [run for run in all_runs if "orbits" in run.curves]
    if not runs:
        return "<p>Not measured.</p>"
    figures = [orbit_figure(runs, name) for name in runs[0].curves["orbits"]]
    figures += [plateau_figure(runs)] if all("plateau" in run.curves for run in runs) else []
    figures += [maps_figure(run) for run in runs if "maps" in run.curves]
    return f'<p class="note">{escape(ORBITS)}</p>{grid(figures)}'


def plateau_figure(runs: Sequence[Run]) -> str:
    """The probability of its class as one image is turned, a line per symmetry and network."""
    series = {}
    for cell, seeds in by_cell(runs).items():
        found = [run.curves["plateau"] for run in seeds]
        heights = mean([one["probability"] for one in found])
        angles = (math.degrees(value) for value in found[0]["value"])
        series[cell] = Series(list(zip(angles, heights, strict=True)))
    ticks = [(90.0 * k, f"{90 * k}") for k in range(-2, 3)]
    x = Axis("turned by [degrees]", -180.0, 180.0, ticks)
    y = even_axis("probability of its class [%]", 0.0, 100.0, start=0.0)
    chart = curve_chart("One image turned", x, y, series)
    return figure(chart, f"The first of the test images, 32 copies{over_seeds(runs)}.")


def maps_figure(run: Run) -> str:
    return figure(run.curves["maps"], f"The first of the test images, 8 copies, {run.name}.")


ORBITS = (
    "Every test example is moved by the same amount and the prediction is brought back, with one "
    "copy. A level line is what a symmetric model shows; a line that rises within a wide "
    "law says that the law is wrong or the network has not learned it yet. Whiskers: standard "
    "error over examples."
)


def orbit_figure(runs: Sequence[Run], name: str) -> str:
    width, unit = runs[0].row["widths"][name], runs[0].row["unit"]
    series = averaged_series(runs, "orbits", "value", name, in_units(1.0, width["unit"]))
    reach = max(value for value, _ in next(iter(series.values())).points)
    ticks = [(reach * k / 2, f"{reach * k / 2:.4g}") for k in range(-2, 3)]
    subject = name if name == width["kind"] else f"{width['kind']} {name}"
    label = f"{subject} [{unit_name(width['unit']) or 'coefficient'}]"
    chart = curve_chart(
        f"Error along {subject}",
        Axis(label, -reach, reach, ticks),
        error_axis(unit, series),
        series,
    )
    return figure(chart, f"{runs[0].curves['measured_on']}, 1 copy{over_seeds(runs)}.")


def over_seeds(runs: Sequence[Run]) -> str:
    count = len({run.row["seed"] for run in runs})
    return f", mean of {count} seeds" if count > 1 else ", one seed"


def training_figures(runs: Sequence[Run]) -> str:
    measured = [run for run in runs if "copies" in run.curves]
    figures = [copies_figure(measured)] if measured else []
    trained = [run for run in runs if run.history]
    if trained:
        figures += [learning_figure(trained, key) for key in ("epoch", "seconds")]
    predicted = [run for run in measured if "predicted" in run.curves]
    figures += [scatter_figure(seeds[0]) for seeds in by_cell(predicted).values()]
    return grid(figures)


def copies_figure(runs: Sequence[Run]) -> str:
    series = averaged_series(runs, "copies", "copies")
    counts = [count for count, _ in next(iter(series.values())).points]
    placed = {
        cell: Series([(math.log2(c), e) for c, e in one.points], one.errors)
        for cell, one in series.items()
    }
    ticks = [(math.log2(count), f"{count:.0f}") for count in counts]
    x = Axis("copies averaged (logarithmic)", ticks[0][0], ticks[-1][0], ticks)
    ends = [
        height + sign * error
        for one in placed.values()
        for (_, height), error in zip(one.points, one.errors, strict=True)
        for sign in (-1, 1)
    ]
    y = even_axis(f"test error [{runs[0].row['unit']}]", min(ends), max(ends))
    chart = curve_chart("Error against number of copies", x, y, placed)
    caption = f"{runs[0].curves['measured_on']}{over_seeds(runs)}. The axis need not start at zero."
    return figure(chart, caption)


def learning_figure(runs: Sequence[Run], key: str) -> str:
    series = {}
    for cell, seeds in by_cell(runs).items():
        columns = [
            mean([[row[column] for row in run.history] for run in seeds])
            for column in (key, "validation_error")
        ]
        series[cell] = Series(list(zip(*columns, strict=True)))
    label = "epoch" if key == "epoch" else "time of training [seconds]"
    x = even_axis(label, 0.0, max(p[0] for one in series.values() for p in one.points), start=0.0)
    y = error_axis(runs[0].row["unit"], series, "validation error")
    chart = curve_chart(f"Learning curves against {key}", x, y, series)
    examples = runs[0].row["examples"]
    trained = f"{runs[0].row['train_count']:,} training {examples}{over_seeds(runs)}"
    return figure(chart, f"Validation {examples}, 1 copy; {trained}.")


def scatter_figure(run: Run) -> str:
    unit, points = (
        run.row["unit"],
        list(zip(run.curves["true"], run.curves["predicted"], strict=True)),
    )
    low, high = (f(value for point in points for value in point) for f in (min, max))
    x, y = (even_axis(f"{name} [{unit}]", low, high) for name in ("true value", "prediction"))
    chart = scatter_chart(f"Predicted against true: {run.cell}", x, y, points)
    copies = run.curves["averaged_over"]
    return figure(chart, f"{run.curves['measured_on']}, {copies} copies, seed {run.row['seed']}.")
