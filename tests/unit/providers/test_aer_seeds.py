# SPDX-License-Identifier: Apache-2.0
"""The seeds of sampled circuits on Aer depend on their place in a job, and not on the calls that run them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

from qonduit_server.ir.circuit import Outcome
from qonduit_server.providers.aer.aer_execution import AerExecution
from qonduit_server.providers.aer.aer_methods import DENSITY_MATRIX, STATEVECTOR
from qonduit_server.providers.aer.aer_program import AerProgram, Kind
from qonduit_server.providers.provider import CompiledCircuit, program_seed

METHODS = {"s": STATEVECTOR, "d": DENSITY_MATRIX}


def sampled(method: str) -> CompiledCircuit:
    circuit = QuantumCircuit(4, 4)
    circuit.h(range(4))
    circuit.measure(range(4), range(4))
    return CompiledCircuit(AerProgram(Kind.SAMPLED, circuit, METHODS[method]), 4)


def counts_of(methods: str, seed: int | None) -> list[Mapping[int, int]]:
    execution = AerExecution(AerSimulator(max_parallel_threads=1), {})
    outcomes = list(execution.run([sampled(method) for method in methods], 200, seed))
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    return [outcome.counts for outcome in outcomes if isinstance(outcome, Outcome)]


@pytest.mark.parametrize("methods", ["ssss", "sdsd", "sdds", "ddsssd"])
def test_a_circuit_has_the_counts_of_its_place_whatever_runs_beside_it(methods: str) -> None:
    alone = [counts_of(method, program_seed(5, place))[0] for place, method in enumerate(methods)]
    assert counts_of(methods, 5) == alone
    assert len({tuple(sorted(each.items())) for each in alone}) == len(methods)
