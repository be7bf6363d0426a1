# SPDX-License-Identifier: Apache-2.0
"""Cirq's collectors with the sampler, beside exact values: by single runs, and by one job of the server."""

from __future__ import annotations

import asyncio
from typing import Any

import cirq
import duet
import numpy as np
import pytest

from qonduit_client import Client
from qonduit_client.cirq import QonduitPauliSumCollector, QonduitSampler

A, B, C = cirq.LineQubit.range(3)
CIRCUIT = cirq.Circuit(cirq.ry(0.7)(A), cirq.CNOT(A, B), cirq.rx(1.1)(B), cirq.CZ(A, B), cirq.ry(0.4)(A))
SAMPLES = 4000
#: Terms of the same basis, of others, an identity, and a qubit that the circuit lacks.
OBSERVABLES: dict[str, cirq.PauliSumLike] = {
    "real": 0.5 * cirq.Z(A) * cirq.Z(B) - 1.5 * cirq.X(A) + 0.75 * cirq.Y(B) * cirq.X(A) + 2 + 0.3 * cirq.Z(C),
    "complex": (0.5 + 1j) * cirq.Z(A) + 1j * cirq.X(B) - cirq.Z(B) + 0.25j,
    "imaginary": 1j * cirq.Z(A) * cirq.X(B),
    "one string": cirq.PauliString({A: cirq.Y, B: cirq.Y}, coefficient=2),
}


@pytest.fixture
def sampler(client: Client) -> QonduitSampler:
    return QonduitSampler(client, seed=7)


def exact(observable: cirq.PauliSumLike) -> complex:
    terms = list(cirq.PauliSum.wrap(observable))
    values = cirq.Simulator().simulate_expectation_values(
        CIRCUIT + cirq.I(C), [each.with_coefficient(1) for each in terms]
    )
    return sum(complex(each.coefficient) * value for each, value in zip(terms, values, strict=True))


def jobs_after(client: Client, job_id: int) -> int:
    return sum(job.id > job_id for job in client.jobs(limit=50))


@pytest.mark.parametrize("name", OBSERVABLES)
@pytest.mark.parametrize("kind", [cirq.PauliSumCollector, QonduitPauliSumCollector])
def test_energies_are_those_of_the_state(
    name: str, kind: type[cirq.PauliSumCollector], sampler: QonduitSampler
) -> None:
    observable = OBSERVABLES[name]
    collector = kind(CIRCUIT, observable, samples_per_term=SAMPLES)
    collector.collect(sampler, concurrency=4)
    energy = collector.estimated_energy()
    weight = sum(abs(string.coefficient) for string in cirq.PauliSum.wrap(observable))
    assert abs(energy - exact(observable)) < 6 * weight / np.sqrt(SAMPLES)
    assert isinstance(energy, complex) == (name in ("complex", "imaginary"))


def test_a_collector_is_one_job_and_collects_once(sampler: QonduitSampler, client: Client) -> None:
    first = client.run("OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;", shots=1).id
    collector = QonduitPauliSumCollector(CIRCUIT, OBSERVABLES["complex"], samples_per_term=100)
    assert collector.estimated_energy() == 0.25j  # of the identity, as Cirq has it before it collects
    collector.collect(sampler)
    energy = collector.estimated_energy()
    asyncio.run(collector.collect_async(sampler))
    assert collector.estimated_energy() == energy
    assert jobs_after(client, first) == 1
    cirqs = cirq.PauliSumCollector(CIRCUIT, OBSERVABLES["complex"], samples_per_term=100)
    duet.run(cirqs.collect_async, sampler)
    assert jobs_after(client, first) == 1 + 3


@pytest.mark.parametrize(
    ("circuit", "noise", "limits", "runs"),
    [
        (CIRCUIT, None, {"max_total_samples": 150}, 2),
        (CIRCUIT, None, {"max_samples_per_job": 60}, 8),
        (CIRCUIT + cirq.measure(A, key="early"), None, {}, 4),
        (CIRCUIT, cirq.bit_flip(0.1), {}, 4),
    ],
)
def test_what_one_job_cannot_estimate_is_collected_as_by_cirq(
    circuit: cirq.Circuit, noise: Any, limits: dict[str, int], runs: int, client: Client
) -> None:
    sampler = QonduitSampler(client, "GOOGLE/cirq_density_matrix", seed=7, noise=noise)
    first = client.run("OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;", shots=1).id
    at_once = {key: value for key, value in limits.items() if key == "max_samples_per_job"}
    collector = QonduitPauliSumCollector(circuit, OBSERVABLES["real"], samples_per_term=100, **at_once)
    collector.collect(sampler, max_total_samples=limits.get("max_total_samples"))
    assert jobs_after(client, first) == runs


def test_other_samplers_and_constants_need_no_server() -> None:
    collector = QonduitPauliSumCollector(CIRCUIT, OBSERVABLES["one string"], samples_per_term=SAMPLES)
    collector.collect(cirq.Simulator(seed=3))
    assert abs(collector.estimated_energy() - exact(OBSERVABLES["one string"])) < 12 / np.sqrt(SAMPLES)
    constant = QonduitPauliSumCollector(CIRCUIT, cirq.PauliSum() + 3, samples_per_term=10)
    constant.collect(QonduitSampler("127.0.0.1:9"))
    assert constant.estimated_energy() == 3


def test_errors_of_the_job_are_those_of_the_sampler(client: Client) -> None:
    wide = cirq.Circuit(cirq.H.on_each(*cirq.LineQubit.range(60)))
    collector = QonduitPauliSumCollector(wide, cirq.Z(A), samples_per_term=10)
    with pytest.raises((ValueError, RuntimeError), match="qubits"):
        collector.collect(QonduitSampler(client, "AWS/local_simulator"))
