# SPDX-License-Identifier: Apache-2.0
"""Programs run for many values of their inputs: the points of a sweep, and a program for each of them."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.input_values import struct_of

#: The most programs of one sweep, over all its jobs.
MOST: Final = 100_000
_PI: Final = re.compile(r"(?P<sign>[+-]?)(?:(?P<times>[0-9.]+(?:e[+-]?[0-9]+)?)\*?)?pi(?:/(?P<over>[0-9.]+))?\Z")


def values_of(text: str) -> list[object]:
    """Return the values of one input, from START:STOP:COUNT (both ends included, evenly spaced) or a JSON list.

    START and STOP are numbers, or multiples of pi: "2*pi", "-pi/2".

    Raises:
        ValueError: it is neither; the message says what to do.
    """
    text = text.strip()
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(f"{_cut(text)} is no JSON list, as [0, 0.5, 1]") from None
        if not isinstance(listed, list) or not listed:
            raise ValueError(f"{_cut(text)} has no values; give at least one, as [0, 0.5, 1]")
        if len(listed) > MOST:
            raise ValueError(f"{len(listed)} values are more than the {MOST} that one sweep may have; split it")
        return list(listed)
    parts = text.split(":")
    if len(parts) != 3:
        raise ValueError(f"{_cut(text)} is neither START:STOP:COUNT, as 0:2*pi:9, nor a list, as [0, 0.5, 1]")
    start, stop = (_number(part) for part in parts[:2])
    try:
        count = int(parts[2])
    except ValueError:
        raise ValueError(f"COUNT is {_cut(parts[2])!r}, not a whole number, as in 0:2*pi:9") from None
    if not 1 <= count <= MOST:
        raise ValueError(f"COUNT is {count}; give 1 to {MOST}")
    if count == 1:
        return [start]
    # Weighted, so that the ends are exact.
    return [(start * (count - 1 - step) + stop * step) / (count - 1) for step in range(count)]


def points_of(axes: Mapping[str, Sequence[object]]) -> Iterator[dict[str, object]]:
    """Yield every combination of the inputs' values; the last input changes fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def at_point(program: QuantumProgram, point: Mapping[str, object]) -> QuantumProgram:
    """Return a copy of the program with these values for its inputs; others it brings stay.

    Raises:
        ValueError: a value is none that an input can have.
    """
    copy = QuantumProgram()
    copy.CopyFrom(program)
    copy.ClearField("id")
    copy.ClearField("deployment_id")
    for name, value in struct_of(point).fields.items():
        copy.python_file_inputs.fields[name].CopyFrom(value)
    return copy


def _number(text: str) -> float:
    text = text.strip()
    found = _PI.match(text.lower().replace(" ", ""))
    try:
        if found is None:
            number = float(text)
        else:
            number = float(found["times"] or 1) * math.pi / float(found["over"] or 1)
            number = -number if found["sign"] == "-" else number
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{_cut(text)!r} is no number; give one as 0.5, or a multiple of pi as 2*pi or pi/4") from None
    if not math.isfinite(number):
        raise ValueError(f"{_cut(text)!r} is not finite; give a number as 0.5, or a multiple of pi as 2*pi")
    return number


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
