# SPDX-License-Identifier: Apache-2.0
"""Text histograms of counts, for terminals and pipes."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Line:
    """One bar: label, count and relative frequency (0..1)."""

    label: str
    count: float
    share: float


def lines_of(counts: Mapping[str, float], *, sort: Literal["key", "count"] = "key", top: int = 16) -> list[Line]:
    """Return the lines of a histogram.

    Args:
        counts: the count of each outcome.
        sort: "key" sorts by the numbers in the keys, "count" puts the most frequent first.
        top: the maximum number of outcomes; the most frequent are shown, a last line "others" sums up the rest.
            0 shows all.
    """
    total = sum(counts.values()) or 1
    kept = heapq.nsmallest(top if top > 0 else len(counts), counts, key=lambda key: (-counts[key], _order(key)))
    if sort == "key":
        kept = sorted(kept, key=_order)
    lines = [Line(key, counts[key], counts[key] / total) for key in kept]
    rest = len(counts) - len(kept)
    if rest:
        left = sum(counts.values()) - sum(line.count for line in lines)
        lines.append(Line(f"{rest} other{'s' if rest > 1 else ''}", left, left / total))
    return lines


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar that fills a share (0..1) of the width, with a resolution of an eighth of a character."""
    share = min(1.0, max(0.0, share))
    if ascii_only:
        return "#" * round(share * width)
    eighths = round(share * width * 8)
    if eighths == 0 and share > 0:
        eighths = 1
    return _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def can_write_bars(stream: TextIO) -> bool:
    """Return whether the stream's encoding has the block characters of bars."""
    try:
        _EIGHTHS.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def text_of(
    counts: Mapping[str, float],
    *,
    sort: Literal["key", "count"] = "key",
    top: int = 16,
    width: int = 80,
    color: bool = False,
    ascii_only: bool = False,
    only_shares: bool = False,
) -> str:
    """Return the histogram, one line per outcome: key, count, percentage, bar; the longest bar fills the width.

    With `only_shares`, the counts are probabilities and have no column.
    """
    if not counts:
        return "  (no counts: the program has no classical bits)"
    lines = lines_of(counts, sort=sort, top=top)
    label_width = max(len(line.label) for line in lines)
    shown = ["" if only_shares else f"{line.count}  " for line in lines]
    count_width = max(map(len, shown))
    room = min(50, max(8, width - label_width - count_width - 14))
    largest = max(line.share for line in lines) or 1.0
    on, off = ("\x1b[36m", "\x1b[0m") if color else ("", "")
    return "\n".join(
        f"  {line.label:>{label_width}}  {count:>{count_width}}{line.share:6.1%}  "
        f"{on}{bar(line.share / largest, room, ascii_only=ascii_only)}{off}"
        for line, count in zip(lines, shown, strict=True)
    )


def amplitudes_text(state: Sequence[complex], *, top: int = 16) -> str:
    """Return the most probable basis states, one per line: bits (highest qubit first), amplitude, probability.

    Args:
        state: 2^n amplitudes.
        top: the maximum number shown, in index order; 0 shows all nonzero amplitudes.
    """
    places = [place for place, amplitude in enumerate(state) if amplitude]
    kept = sorted(heapq.nsmallest(top, places, key=lambda place: -abs(state[place]))) if top > 0 else places
    qubits = len(state).bit_length() - 1
    lines = [
        f"  {place:0{qubits}b}  {state[place].real:+.6f}{state[place].imag:+.6f}i  {abs(state[place]) ** 2:6.1%}"
        if qubits
        else f"  {state[place].real:+.6f}{state[place].imag:+.6f}i"
        for place in kept
    ]
    rest = len(places) - len(kept)
    return "\n".join([*lines, f"  {rest} other{'s' if rest > 1 else ''}"] if rest else lines)


def _order(key: str) -> tuple[object, ...]:
    """Return the sort key: numbers by value, then other keys by text."""
    try:
        return (0, tuple(int(number, 16) for number in key.split()), key)
    except ValueError:
        return (1, (), key)
