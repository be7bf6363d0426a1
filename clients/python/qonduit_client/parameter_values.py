# SPDX-License-Identifier: Apache-2.0
"""Convert the values of parameters at many points to a message; needs no NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

from qonduit.v1.sweep_pb2 import ParameterSets

#: Values by name: a number, which holds at every point, or one number for each point. For an array, one list for each
#: point. Or names and a matrix with one row for each point. Names may be the SDK's parameters.
ParameterValues: TypeAlias = Mapping[Any, Any] | tuple[Iterable[Any], Any] | ParameterSets


def sets_of(values: ParameterValues) -> ParameterSets:
    """Return the message of parameter values.

    Raises:
        ValueError: sequences have different lengths, a row has another number of values than names, or a value is not a
            number.
    """
    if isinstance(values, ParameterSets):
        return values
    if isinstance(values, Mapping):
        return _from_mapping(values)
    if isinstance(values, tuple) and len(values) == 2:
        return _from_matrix([_name(each) for each in values[0]], _plain(values[1]))
    raise ValueError(f"parameter_values must be a dictionary or (names, matrix), got {values!r}")


def _from_matrix(names: list[str], matrix: Any) -> ParameterSets:
    if not isinstance(matrix, list) or not all(isinstance(row, list) for row in matrix):
        raise ValueError("parameter_values: the matrix must have one row for each point")
    for place, row in enumerate(matrix):
        if len(row) != len(names):
            raise ValueError(
                f"parameter_values: row {place} of the matrix must have {len(names)} values, one for each name, got "
                f"{len(row)}"
            )
    flat = [_number("the matrix", value) for row in matrix for value in row]
    return ParameterSets(names=names, values=flat)


def _from_mapping(values: Mapping[Any, Any]) -> ParameterSets:
    fixed: dict[str, float] = {}
    columns: dict[str, list[float]] = {}
    lengths: dict[str, int] = {}
    for key, value in values.items():
        name, plain = _name(key), _plain(value)
        if not isinstance(plain, list):
            fixed[name] = _number(name, plain)
            continue
        lengths[name] = len(plain)
        columns.update(_columns(name, plain))
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in list(lengths.items())[:8])
        raise ValueError(
            f"parameter_values: all sequences must have equal length, one value for each point, got {shown}"
        )
    points = next(iter(lengths.values()), 1)
    if not points:
        raise ValueError("parameter_values: a sequence must have at least one value")
    columns = {name: [value] * points for name, value in fixed.items()} | columns
    rows = zip(*columns.values(), strict=True)
    return ParameterSets(names=columns, values=[value for row in rows for value in row])


def _columns(name: str, values: list[Any]) -> dict[str, list[float]]:
    """Return the values of a parameter, or of each element of an array parameter, at all points."""
    if not values or not isinstance(values[0], list):
        return {name: [_number(name, value) for value in values]}
    size = len(values[0])
    if not all(isinstance(row, list) and len(row) == size for row in values):
        raise ValueError(f"parameter_values: {name} must have a list of {size} numbers for each point")
    return {f"{name}[{place}]": [_number(name, row[place]) for row in values] for place in range(size)}


def _name(key: Any) -> str:
    """Return a name, also of a parameter of Qiskit, Braket or SymPy."""
    return key if isinstance(key, str) else str(getattr(key, "name", key))


def _plain(value: Any) -> Any:
    """Return nested lists of a sequence, also of NumPy."""
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    if isinstance(value, range):
        return list(value)
    return value


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Real):
        raise ValueError(f"parameter_values: {name} must contain numbers, got {value!r}")
    return float(value)
