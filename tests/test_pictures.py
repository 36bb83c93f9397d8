"""Pictures are well-formed and show what they were given."""

from __future__ import annotations

from xml.etree import ElementTree

from molaug.pictures import line_chart

SVG = "{http://www.w3.org/2000/svg}"


def test_a_line_per_name_from_the_floor_to_the_top():
    chart = line_chart("t", "x", "y", {"a": [0.0, 1.0], "b & <c>": [1.0, 1.0]}, y_max=1.0)
    root = ElementTree.fromstring(chart)
    lines = [[p.split(",") for p in e.get("points").split()] for e in root.iter(f"{SVG}polyline")]
    assert len(lines) == 2
    (_, low), (_, high) = lines[0]
    assert float(low) > float(high) == float(lines[1][0][1])
    assert "b & <c>" in "".join(root.itertext())


def test_names_title_and_labels_are_shown():
    text = "".join(
        ElementTree.fromstring(
            line_chart("widths", "epoch", "share", {"rx": [0.5]}, y_max=2)
        ).itertext()
    )
    assert all(word in text for word in ("widths", "epoch", "share", "rx", "1.5"))
