# SPDX-License-Identifier: Apache-2.0
"""The precision of Cirq's statevectors: shots of wide circuits are drawn in the one that the job asks for."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit

from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers import registry
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions

#: The widest circuits that are always simulated in double precision have 18 qubits.
WIDE: Final = 19


def circuit(qubits: int) -> Circuit:
    quantum = QuantumCircuit(qubits, 1)
    quantum.h(qubits - 1)
    for k in range(40):
        quantum.ry(0.1 + k, 0)
        quantum.rx(0.2 + k, 0)
    quantum.cx(qubits - 1, 1)
    quantum.measure(0, 0)
    for k in range(2, qubits):
        quantum.x(k)
    return Circuit(quantum, ())


def compiled(device: str, qubits: int, **options: str) -> CompiledCircuit:
    provider = registry.get("GOOGLE")
    provider.load()
    return provider.compile(circuit(qubits), device, CompileOptions(simulation=SimulationOptions(**options)))


def rounding(found: CompiledCircuit) -> float:
    """Return how far the probabilities that shots are drawn from are from exact ones."""
    native: Any = found.native
    engine = native.method.engine
    return float(np.abs(engine.distribution(native, exact=False) - engine.distribution(native, exact=True)).max())


def metadata(device: str, found: CompiledCircuit) -> dict[str, object]:
    (outcome,) = [each for each in registry.get("GOOGLE").run(device, [found], 10, 1) if isinstance(each, Outcome)]
    return dict(outcome.meta_data)


@pytest.mark.parametrize(
    ("device", "options"),
    [("cirq_simulator", {}), ("cirq_density_matrix", {"method": "trajectories"})],
)
def test_a_job_that_asks_for_double_precision_gets_it(device: str, options: dict[str, str]) -> None:
    wide = compiled(device, WIDE, **options)
    assert 1e-12 < rounding(wide) < 1e-5
    assert metadata(device, wide)["floating_point"] == "single"
    double = compiled(device, WIDE, **options, floating_point="double")
    assert rounding(double) < 1e-13
    assert "floating_point" not in metadata(device, double)
    assert double.memory_bytes == 2 * wide.memory_bytes


def test_narrow_circuits_have_double_precision() -> None:
    narrow = compiled("cirq_simulator", WIDE - 1)
    assert rounding(narrow) < 1e-13
    assert "floating_point" not in metadata("cirq_simulator", narrow)
