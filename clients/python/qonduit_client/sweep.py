# SPDX-License-Identifier: Apache-2.0
"""Parameter sweeps: the values of inputs, and a program for each point."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.input_values import struct_of

#: Maximum number of programs of one sweep, over all its jobs.
MOST: Final = 100_000
_PI: Final = re.compile(r"(?P<sign>[+-]?)(?:(?P<times>[0-9.]+(?:e[+-]?[0-9]+)?)\*?)?pi(?:/(?P<over>[0-9.]+))?\Z")


def values_of(text: str) -> list[object]:
    """Return the values of one input, from START:STOP:COUNT (both ends included, evenly spaced) or a JSON list.

    START and STOP are numbers, or multiples of pi: "2*pi", "-pi/2".

    Raises:
        ValueError: the text is neither.
    """
    text = text.strip()
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(f"expected a JSON list such as [0, 0.5, 1], got {_cut(text)}") from None
        if not isinstance(listed, list) or not listed:
            raise ValueError(f"expected at least one value, as in [0, 0.5, 1], got {_cut(text)}")
        if len(listed) > MOST:
            raise ValueError(f"a sweep has at most {MOST} values, got {len(listed)}; split it")
        return list(listed)
    parts = text.split(":")
    if len(parts) != 3:
        raise ValueError(f"expected START:STOP:COUNT, as 0:2*pi:9, or a list, as [0, 0.5, 1], got {_cut(text)}")
    start, stop = (_number(part) for part in parts[:2])
    try:
        count = int(parts[2])
    except ValueError:
        raise ValueError(f"COUNT must be an integer, as in 0:2*pi:9, got {_cut(parts[2])!r}") from None
    if not 1 <= count <= MOST:
        raise ValueError(f"COUNT must be from 1 to {MOST}, got {count}")
    if count == 1:
        return [start]
    # A weighted mean makes both ends exact.
    return [(start * (count - 1 - step) + stop * step) / (count - 1) for step in range(count)]


def points_of(axes: Mapping[str, Sequence[object]]) -> Iterator[dict[str, object]]:
    """Yield every combination of the inputs' values; the last input changes fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def at_point(program: QuantumProgram, point: Mapping[str, object]) -> QuantumProgram:
    """Return a copy of the program with the point's values; its other inputs are kept.

    Raises:
        ValueError: an input has an unsupported value.
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
        raise ValueError(
            f"expected a number, as 0.5, or a multiple of pi, as 2*pi or pi/4, got {_cut(text)!r}"
        ) from None
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, as 0.5, or a multiple of pi, as 2*pi, got {_cut(text)!r}")
    return number


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
