# SPDX-License-Identifier: Apache-2.0
"""Histograms drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from qonduit_client.distribution import pip_install
from qonduit_client.histogram import lines_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOUR: Final = "#4c78a8"
#: Colour of the bar that sums up the remaining outcomes.
_OTHERS: Final = "#b8bfc9"
#: Maximum number of bars with counts, and of label characters without rotation.
_COUNTED: Final = 33
_UPRIGHT: Final = 60


def plot_counts(
    counts: Mapping[str, int],
    ax: Axes | None = None,
    *,
    top: int = 32,
    sort: Literal["key", "count"] = "key",
    names: Sequence[str] = (),
) -> Axes:
    """Draw one bar per outcome, with its relative frequency as height and its count above.

    Args:
        counts: the count of each outcome.
        ax: the axes; by default those of a new figure that fits the bars.
        top: the maximum number of outcomes; a last bar sums up the less frequent ones. 0 draws all.
        sort: by the numbers in the keys, or the most frequent first ("count").
        names: the registers, in the order of the keys.

    Raises:
        ImportError: matplotlib is not installed.
    """
    lines = lines_of(counts, sort=sort, top=top)
    if ax is None:
        ax = _new_axes(len(lines))
    colours = [_COLOUR] * len(lines)
    if 0 < top < len(counts):
        colours[-1] = _OTHERS
    bars = ax.bar(range(len(lines)), [line.share for line in lines], width=0.8, color=colours)
    if len(lines) <= _COUNTED:
        crowded = len(lines) > 16
        ax.bar_label(
            bars, [str(line.count) for line in lines], padding=2, rotation=90 if crowded else 0, fontsize="small"
        )
    labels = [line.label for line in lines]
    upright = sum(map(len, labels)) > _UPRIGHT
    ax.set_xticks(range(len(lines)), labels, rotation=90 if upright else 0, fontsize="small", family="monospace")
    ax.set_xlabel(" ".join(names) or "outcome")
    ax.set_ylabel("probability")
    ax.margins(y=0.15)
    ax.set_ylim(bottom=0)
    if not lines:
        ax.text(0.5, 0.5, "no counts", transform=ax.transAxes, ha="center")
    return ax


def _new_axes(bars: int) -> Axes:
    try:
        from matplotlib import pyplot
    except ImportError as missing:
        raise ImportError(f"plots require matplotlib: {pip_install('plot')}") from missing
    width = min(40.0, max(5.0, 1.5 + 0.33 * bars))
    axes: Axes = pyplot.figure(figsize=(width, 4.0), layout="constrained").add_subplot()
    return axes
