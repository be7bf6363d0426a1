# SPDX-License-Identifier: Apache-2.0
"""Estimates and samples without NumPy: rows and dictionaries; arrays name the extra to install."""

from __future__ import annotations

import sys

import pytest

from qonduit.v1.result_pb2 import ExpectationValues, QuasiDistribution, Register
from qonduit.v1.result_pb2 import Result as ResultMessage
from qonduit_client.estimates import EstimateRow, estimate_of, rows_of
from qonduit_client.parameter_values import sets_of
from qonduit_client.result import Result
from qonduit_client.samples import Sample


@pytest.fixture(autouse=True)
def without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make imports of NumPy fail."""
    monkeypatch.setitem(sys.modules, "numpy", None)


def test_estimates_have_rows() -> None:
    values = ExpectationValues(
        num_points=1,
        num_observables=2,
        values=[1, 2],
        standard_errors=[0.1, 0.2],
        variances=[3, 4],
        confidence_intervals=[0, 1, 2, 3],
        shots=[10, 20],
        bounded=[False, True],
        gradients=[5, 6],
        parameters=["theta"],
    )
    result = Result(ResultMessage(id=3, expectation_values=values))
    assert list(rows_of(result)) == [
        EstimateRow(0, 0, 1, 0.1, 3, 0, 1, 10, False, (5,)),
        EstimateRow(0, 1, 2, 0.2, 4, 2, 3, 20, True, (6,)),
    ]
    with pytest.raises(ImportError, match=r"estimates require NumPy.*qonduit-quantum\[numpy\]"):
        estimate_of(result, has_points=False)


def test_samples_have_dictionaries_and_rows() -> None:
    found = QuasiDistribution(quasi_probabilities={"0x1": 0.5, "0x0": 0.5}, outcomes=b"\x01\x00")
    sample = Sample(Result(ResultMessage(quasi_distribution=found, shots=2, registers=[Register(name="c", size=1)])))
    assert sample.quasi_probabilities == {"0x0": 0.5, "0x1": 0.5}
    assert sample.by_register == {"c": {"0x0": 0.5, "0x1": 0.5}}
    assert list(sample.rows()) == [(1,), (0,)]
    with pytest.raises(ImportError, match="arrays of shots require NumPy"):
        _ = sample.outcomes


def test_parameter_values_are_lists() -> None:
    assert list(sets_of({"a": [1, 2], "b": 3}).values) == [3, 1, 3, 2]
