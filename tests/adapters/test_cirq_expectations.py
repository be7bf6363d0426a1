# SPDX-License-Identifier: Apache-2.0
"""Expectation values and ordered records that a server computes for Cirq's sampler."""

from __future__ import annotations

from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from qonduit_client import Client
from qonduit_client.cirq import QonduitSampler


@pytest.mark.parametrize(
    "qubits", [cirq.LineQubit.range(3)[::-1], cirq.GridQubit.rect(1, 3), [cirq.NamedQubit(f"q{k}") for k in (10, 9, 2)]]
)
def test_expectation_values_of_a_sweep_are_one_estimator(client: Client, qubits: list[cirq.Qid]) -> None:
    a, b, c = qubits
    t = sympy.Symbol("t")
    circuit = cirq.Circuit(cirq.ry(t)(a), cirq.CNOT(a, b), cirq.rx(2 * t + 0.3)(b))
    observables = [cirq.Z(a) * cirq.Z(b) - 0.5 * cirq.X(a), cirq.Y(b), cirq.Z(c) + 2.0, cirq.X(a) * cirq.X(b)]
    sweep = cirq.Linspace("t", 0.2, 2.8, 5)
    sampler = QonduitSampler(client, seed=5)
    found = sampler.sample_expectation_values(circuit, observables, num_samples=4000, params=sweep)
    (job,) = client.jobs(limit=1)
    assert [run.points for run in job.program_runs] == [5]
    wanted = [
        cirq.Simulator().simulate_expectation_values(circuit + cirq.I(c), observables, param_resolver=point)
        for point in sweep
    ]
    assert np.shape(found) == (5, 4)
    assert np.abs(np.array(found) - np.real(wanted)).max() < 6 * 1.5 / np.sqrt(4000)
    assert [each[2] for each in found] == [3.0] * 5


def test_what_cirq_measures_itself_gives_the_same_errors(client: Client) -> None:
    qubit = cirq.LineQubit(0)
    sampler = QonduitSampler(client, seed=5)
    measured = cirq.Circuit(cirq.X(qubit), cirq.measure(qubit))
    with pytest.raises(ValueError, match="terminal measurements"):
        sampler.sample_expectation_values(measured, [cirq.Z(qubit)], num_samples=10)
    with pytest.raises(ValueError, match="at least one sample"):
        sampler.sample_expectation_values(measured[:1], [cirq.Z(qubit)], num_samples=0)
    with pytest.raises(ValueError, match="observable"):
        sampler.sample_expectation_values(measured[:1], [], num_samples=10)
    noisy = QonduitSampler(client, "GOOGLE/cirq_density_matrix", seed=5, noise=cirq.bit_flip(1.0))
    found = noisy.sample_expectation_values(measured[:1], [cirq.Z(qubit)], num_samples=10)
    assert found == cirq.DensityMatrixSimulator(noise=cirq.bit_flip(1.0)).sample_expectation_values(
        measured[:1], [cirq.Z(qubit)], num_samples=10
    )


def test_a_sweep_is_one_program_with_shots_in_order(client: Client) -> None:
    qubit = cirq.LineQubit(0)
    circuit = cirq.Circuit(cirq.ry(sympy.Symbol("t"))(qubit), cirq.measure(qubit, key="m"))
    results: Any = QonduitSampler(client, seed=1).run_sweep(circuit, cirq.Points("t", [0, np.pi / 2, np.pi]), 200)
    (job,) = client.jobs(limit=1)
    assert [run.points for run in job.program_runs] == [3]
    first, coins, last = (each.measurements["m"][:, 0] for each in results)
    assert (first.sum(), last.sum()) == (0, 200)
    assert 60 < (coins[1:] != coins[:-1]).sum() < 140  # sorted shots would change once
