# SPDX-License-Identifier: Apache-2.0
"""Convert results by register to Qiskit's form: one number per outcome, whose bit k is the circuit's bit k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.result.models import ExperimentResult, ExperimentResultData

from qonduit_client.result import Result


def experiment(circuit: QuantumCircuit, result: Result, memory: bool, order_seed: int | None) -> ExperimentResult:
    """Return the result of one circuit, in the form of Aer 0.18.

    Args:
        circuit: the caller's circuit, for its name, registers and metadata.
        result: of its program.
        memory: whether single shots are returned too.
        order_seed: the seed of the order of the shots.
    """
    data: dict[str, Any] = {}
    if circuit.num_clbits:
        outcomes = outcomes_of(circuit, result)
        keys = [hex(outcome) for outcome in outcomes]
        data["counts"] = dict(zip(keys, outcomes.values(), strict=True))
        if memory:
            shots: Any = np.repeat(np.array(keys, dtype=object), list(outcomes.values()))
            data["memory"] = np.random.default_rng(order_seed).permutation(shots).tolist()
    metadata = result.meta_data
    return ExperimentResult(
        shots=result.shots,
        success=True,
        data=ExperimentResultData(**data),
        status="DONE",
        header={
            "creg_sizes": [[register.name, register.size] for register in circuit.cregs],
            "global_phase": _number(circuit.global_phase),
            "memory_slots": circuit.num_clbits,
            "n_qubits": circuit.num_qubits,
            "name": circuit.name,
            "qreg_sizes": [[register.name, register.size] for register in circuit.qregs],
            "metadata": circuit.metadata,
        },
        seed_simulator=int(metadata["seed"]) if "seed" in metadata else None,
        time_taken=metadata.get("run_seconds", 0.0),
        metadata=metadata,
    )


def outcomes_of(circuit: QuantumCircuit, result: Result) -> dict[int, int]:
    """Return counts by the number of all classical bits, from counts by registers (see `Result`)."""
    places = _places(circuit, [register.name for register in result.registers])
    if places == [list(range(circuit.num_clbits))]:
        return {int(key, 16): count for key, count in result.counts.items()}
    outcomes = {}
    for key, count in result.counts.items():
        outcome = 0
        for number, bits in zip(key.split(), places, strict=True):
            outcome |= _spread(int(number, 16), bits)
        outcomes[outcome] = count
    return outcomes


def _places(circuit: QuantumCircuit, names: Sequence[str]) -> list[list[int]]:
    """Return the circuit's bits of each register; bits without a register form an unnamed one."""
    index = {bit: place for place, bit in enumerate(circuit.clbits)}
    own = {register.name: [index[bit] for bit in register] for register in circuit.cregs}
    own[""] = sorted(set(index.values()).difference(*own.values()))
    return [own[name] for name in names]


def _spread(number: int, places: Sequence[int]) -> int:
    if not number:
        return 0
    if places[-1] - places[0] == len(places) - 1:  # contiguous, as in registers that share no bits
        return number << places[0]
    return sum(1 << place for bit, place in enumerate(places) if number >> bit & 1)


def _number(phase: Any) -> float | str:
    try:
        return float(phase)
    except TypeError:  # it has parameters
        return str(phase)
