"""Curves laid out for inline SVG: scales, ticks and paths. The template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from tunesmith_trainer.report.families import Family, families
from tunesmith_trainer.report.history import PERPLEXITY, Entry, Points, curve
from tunesmith_trainer.report.numerals import numeral

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH, HEIGHT = 560, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 10, 26
_MOST_POINTS = 400
_SMOOTHED_FROM = 60  # points: a shorter curve shows what it is by itself
_WINDOWS = 25  # of a curve lie side by side; each point of the smoothed one is the mean of two
_TICKS = 5
_EXACT = "learning_rate"  # is set, not measured: there is no noise in it
_COLOURS = 6  # of several curves of a chart; then they begin again

# Counters and durations are no curves; the loss of the whole training and the perplexity are said elsewhere.
_NO_CURVES = frozenset({"step", "epoch", "num_tokens", "num_input_tokens_seen", "total_flos", "train_loss", PERPLEXITY})
_NO_CURVE_ENDS = ("runtime", "samples_per_second", "steps_per_second", "_preparation_time")
_EVAL = "eval_"


@dataclass(frozen=True)
class Line:
    """One curve of a chart, in the chart's coordinates.

    Attributes:
        name: What it shows, in the legend.
        role: `train`, `faint` (the figures that `train` smooths) or `eval`; behind it the colour, of several.
        path: The SVG path.
        dots: Points with their text: x, y, text.
    """

    name: str
    role: str
    path: str
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    place: float
    label: str


@dataclass(frozen=True)
class Chart:
    """One chart."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[float, ...]


@dataclass(frozen=True)
class Chapter:
    """Charts under one heading."""

    title: str
    charts: tuple[Chart, ...]


def chapters(entries: Sequence[Entry], resumed: Iterable[int] = ()) -> list[Chapter]:
    """Return the charts of a metric history: the well-known ones first, then whatever else the method logged.

    Args:
        entries: The history.
        resumed: Steps that later attempts went on from; each is marked.
    """
    names = dict.fromkeys(name.removeprefix(_EVAL) for entry in entries for name in entry)
    last = max((entry["step"] for entry in entries), default=0)
    marks = tuple(resumed)
    drawn = (
        Chapter(title, tuple(chart for family in group if (chart := _chart(family, entries, last, marks)) is not None))
        for title, group in families(filter(_is_curve, names)).items()
    )
    return [chapter for chapter in drawn if chapter.charts]


def thin(points: Points, most: int = _MOST_POINTS) -> Points:
    """Return at most about `most` points that keep the shape: of each stretch the lowest and the highest."""
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    kept: set[tuple[float, float]] = {points[0], points[-1]}
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept |= {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
    return sorted(kept)


def smooth(points: Points) -> Points:
    """Return the mean of each point and its neighbours, on both sides alike but for the end."""
    reach = max(1, len(points) // _WINDOWS)
    sums = list(accumulate((value for _, value in points), initial=0.0))
    smoothed = []
    for place, (step, _) in enumerate(points):
        # A curve is steep where it begins: there the mean is over few points rather than shifted.
        before = min(reach, place)
        after = min(before, len(points) - 1 - place)
        total = sums[place + after + 1] - sums[place - before]
        smoothed.append((step, total / (before + after + 1)))
    return smoothed


def nice_ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Return round values that cover a range, the first at or below its low end and the last at or above its high."""
    if high <= low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * place for place in range(first, last + 1)]


def _is_curve(name: str) -> bool:
    return name not in _NO_CURVES and _EVAL + name not in _NO_CURVES and not name.endswith(_NO_CURVE_ENDS)


def _chart(family: Family, entries: Sequence[Entry], last: int, resumed: tuple[int, ...]) -> Chart | None:
    curves = {name: (curve(entries, name), curve(entries, _EVAL + name)) for name in family.figures}
    if max(len(points) for pair in curves.values() for points in pair) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    values = [value for pair in curves.values() for points in pair for _, value in points]
    y_ticks = nice_ticks(min(values), max(values))
    scale = _Scale(float(max(last, 1)), y_ticks[0], y_ticks[-1])
    lines = [
        line
        for place, (name, (train, held_out)) in enumerate(curves.items())
        for line in _lines(_Look(name, family.figures[name], place), train, held_out, scale)
    ]
    return Chart(
        title=family.title,
        lines=tuple(lines),
        x_ticks=tuple(
            Tick(scale.x(step), numeral(step)) for step in nice_ticks(0, last) if step <= last and step.is_integer()
        ),
        y_ticks=tuple(Tick(scale.y(value), numeral(value)) for value in y_ticks),
        marks=tuple(scale.x(step) for step in resumed if 0 < step < last),
    )


@dataclass(frozen=True)
class _Scale:
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / self.last, 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)


@dataclass(frozen=True)
class _Look:
    """How a figure is shown: alone by what it was measured on, beside others by what it is called."""

    name: str
    label: str
    place: int

    def called(self, what: str) -> str:
        if not self.label:
            return what
        return self.label if what.startswith("training") else f"{self.label}, {what}"

    def role(self, role: str) -> str:
        return f"{role} colour{self.place % _COLOURS}" if self.label else role


def _lines(look: _Look, train: Points, held_out: Points, scale: _Scale) -> list[Line]:
    lines = []
    if look.name != _EXACT and len(train) >= _SMOOTHED_FROM:
        lines.append(Line("", look.role("faint"), _path(thin(train), scale), ()))
        lines.append(_line(look.called("training, smoothed"), look.role("train"), smooth(train), scale))
    elif train:
        lines.append(_line(look.called("training"), look.role("train"), train, scale))
    if held_out:
        lines.append(_line(look.called("held-out"), look.role("eval"), held_out, scale))
    return lines


def _line(name: str, role: str, points: Points, scale: _Scale) -> Line:
    kept = thin(points)
    shown = thin(points, 100)
    dots = ((scale.x(step), scale.y(value), f"step {step:g}: {numeral(value)}") for step, value in shown)
    return Line(name, role, _path(kept, scale), tuple(dots))


def _path(points: Points, scale: _Scale) -> str:
    places = [(scale.x(step), scale.y(value)) for step, value in points]
    # What falls on the same pixel as its neighbour is left out: long flat curves stay short.
    kept = places[:1] + [place for before, place in pairwise(places) if place != before]
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in kept)
