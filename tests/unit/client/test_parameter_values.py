# SPDX-License-Identifier: Apache-2.0
"""Parameter values in all their forms become rows of one matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector

from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client.parameter_values import sets_of


@pytest.mark.parametrize(
    ("values", "names", "rows"),
    [
        ({"a": 1}, ["a"], [[1]]),
        ({"a": [1, 2], "b": 3}, ["b", "a"], [[3, 1], [3, 2]]),
        ({"a": np.array([0.5, 1]), "b": range(2)}, ["a", "b"], [[0.5, 0], [1, 1]]),
        ({"a": [[1, 2], [3, 4], [5, 6]]}, ["a[0]", "a[1]"], [[1, 2], [3, 4], [5, 6]]),
        ({"a": np.ones((1, 2)), "b": True}, ["b", "a[0]", "a[1]"], [[1, 1, 1]]),
        ((["a", "b"], np.arange(4).reshape(2, 2)), ["a", "b"], [[0, 1], [2, 3]]),
        ((ParameterVector("t", 2), [[1, 2]]), ["t[0]", "t[1]"], [[1, 2]]),
        ({Parameter("x"): (1, 2)}, ["x"], [[1], [2]]),
        ({ParameterVector("t", 2): [[1, 2]]}, ["t[0]", "t[1]"], [[1, 2]]),
    ],
)
def test_values_become_rows(values: Any, names: list[str], rows: list[list[float]]) -> None:
    assert sets_of(values) == ParameterSets(names=names, values=[value for row in rows for value in row])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": [1, 2], "b": [1, 2, 3]}, "equal length.*a: 2, b: 3"),
        ({"a": []}, "at least one value"),
        ({"a": "01"}, "a must contain numbers, got '01'"),
        ({"a": [[1, 2], [3]]}, "a must have a list of 2 numbers"),
        ((["a"], [[1, 2]]), "row 0 of the matrix must have 1 values"),
        ((["a"], [1, 2]), "one row for each point"),
        (["a"], "must be a dictionary or"),
    ],
)
def test_other_shapes_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sets_of(values)
