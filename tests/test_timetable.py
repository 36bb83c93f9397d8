"""What happens to widths in which step of a run."""

from __future__ import annotations

import pytest

from molaug.timetable import MEASUREMENTS, STRETCH, Timetable, stride


@pytest.mark.parametrize(
    ("done", "share"), [(0.0, 0.05), (0.25, 0.05), (0.275, 0.05**0.5), (0.3, 1.0), (0.9, 1.0)]
)
def test_the_limit_rises_from_when_widths_are_free(done, share):
    steps = 400  # few enough for groups of one
    assert Timetable(steps, 0.25, probing=0.1).limit(round(done * steps)) == pytest.approx(share)
    assert Timetable(steps, 0.0, probing=0.1).limit(round(done * steps)) == 1.0  # never frozen


@pytest.mark.parametrize("steps", [1, 7, 480, 2500, 4000, 22_920])
@pytest.mark.parametrize("freeze", [0.0, 1 / 3])
def test_all_that_happens_to_widths_happens_in_first_steps_of_groups(steps, freeze):
    table, every = Timetable(steps, freeze, probing=0.1), stride(steps)
    measured = [step for step in range(steps) if table.is_measured(step)]
    free = [step for step in range(steps) if table.is_free(step)]
    assert all(step % every == 0 for step in measured + free)
    assert free == [step for step in range(0, steps, every) if step >= freeze * steps]
    assert all(table.first(step) == step - step % every for step in range(steps))
    shares = [table.share_of_probes(step) for step in range(steps)]
    limits = [table.limit(step) for step in range(steps)]
    for values in (shares, limits):
        assert all(values[step] == values[step - step % every] for step in range(steps))


def test_where_widths_rest_a_stretch_is_so_many_whole_groups():
    table = Timetable(4000, freeze=1 / 3, probing=0.1)  # groups of five
    assert (table.together(False), table.together(True)) == (5, 5 * STRETCH)
    for step in range(0, 4000, 7):
        assert table.first(step, resting=True) == step - step % (5 * STRETCH)
        assert table.first(table.first(step, resting=True)) == table.first(step, resting=True)


def test_costs_are_measured_once_before_probes_and_then_evenly_from_when_widths_are_free():
    table = Timetable(4000, freeze=1 / 3, probing=0.1)  # groups of five
    first, *others = [step for step in range(4000) if table.is_measured(step)]
    assert first == table.probed_from == 330
    assert others == list(range(1335, 4000, 165))
    assert len(others) <= MEASUREMENTS * 2 / 3 + 1
    assert next(filter(table.is_free, range(4000))) == others[0] == table.free_from
    assert table.share_of_probes(329) == 0.0
    assert table.share_of_probes(330) == pytest.approx(0.1 * (1 - 330 / 4000))
    assert table.share_of_probes(3999) == pytest.approx(0.1 * 5 / 4000)


def test_widths_that_are_never_frozen_are_asked_about_from_the_start():
    table = Timetable(4000, freeze=0.0, probing=0.1)
    assert table.is_free(0)
    assert table.is_measured(0)
    assert table.limit(0) == 1.0
