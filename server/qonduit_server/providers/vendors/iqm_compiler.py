# SPDX-License-Identifier: Apache-2.0
"""Compiles circuits for an IQM machine as its calibration describes it. Imported only in the process that calls IQM.

Qiskit places and routes the qubits. IQM's client inserts the gates that move qubits into resonators, where a machine
has these ("Star").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from iqm.iqm_client.transpile import simplify_architecture, transpile_insert_moves
from iqm.pulse import Circuit, CircuitOperation
from iqm.station_control.interface.models import DynamicQuantumArchitecture
from qiskit import QuantumCircuit
from qiskit.circuit import Delay, Measure, Parameter, Reset
from qiskit.circuit.library import CZGate, RXGate, RZGate
from qiskit.transpiler import PassManager, Target, generate_preset_pass_manager

from qonduit.execution.v1.vendor_pb2 import NativeCircuit
from qonduit_server.providers.remote_provider import CallRefused

#: Among equal places of a symmetric machine, Qiskit may choose differently nevertheless.
_SEED: Final = 0
#: Precedes the number of a classical bit in the key of its last measurement.
BIT: Final = "c"
#: The same for measurements whose bit is overwritten.
_OVERWRITTEN: Final = "overwritten"


@dataclass(frozen=True)
class Machine:
    """A machine with a calibration.

    Attributes:
        architecture: as IQM describes it.
        qubits: the names of the qubits that can be driven and measured; their place is their number.
        pairs: the pairs of qubits with a gate for two, in both directions.
        resets: the qubits that can be reset within a circuit.
    """

    architecture: DynamicQuantumArchitecture
    qubits: tuple[str, ...]
    pairs: frozenset[tuple[int, int]]
    resets: frozenset[int]


def machine(architecture: DynamicQuantumArchitecture) -> Machine:
    """Return a machine. On a "Star", pairs are those that share a resonator."""
    plain = simplify_architecture(architecture)

    def loci(gate: str) -> Sequence[tuple[str, ...]]:
        return plain.gates[gate].loci if gate in plain.gates else ()

    driven = {name for locus in loci("prx") for name in locus}
    measured = {name for locus in loci("measure") for name in locus}
    qubits = tuple(name for name in plain.components if name in driven & measured)
    numbers = {name: number for number, name in enumerate(qubits)}
    pairs = {(numbers[one], numbers[two]) for one, two in loci("cz") if one in numbers and two in numbers}
    # IQM resets a qubit by a gate that depends on its measurement.
    resets = {name for gate in ("reset", "cc_prx") for locus in loci(gate) for name in locus}
    return Machine(
        architecture,
        qubits,
        frozenset(pairs | {(two, one) for one, two in pairs}),
        frozenset(numbers[name] for name in resets if name in numbers),
    )


def compiled(natives: Iterable[NativeCircuit], machine: Machine, token: str) -> Iterator[Circuit]:
    """Yield circuits in the gates of a machine.

    Args:
        natives: of `IQM.compile`.
        machine: the machine.
        token: part of the names of the circuits, which a person may look for.

    Raises:
        CallRefused: the machine cannot run a circuit.
    """
    target = _target(machine)

    @cache
    def compiler(level: int) -> PassManager:
        return generate_preset_pass_manager(level, target=target, seed_transpiler=_SEED)

    for number, native in enumerate(natives):
        program = json.loads(native.text)
        _check(program, machine)
        level: Any = native.layout["optimization_level"]
        keys = _keys(program["steps"])
        operations = _operations(compiler(int(level)).run(_circuit(program, len(keys))), machine.qubits, keys)
        plain = Circuit(name=f"qonduit {token} {number}", instructions=tuple(operations))
        yield transpile_insert_moves(plain, machine.architecture)


def _check(program: Mapping[str, Any], machine: Machine) -> None:
    if program["qubits"] > len(machine.qubits):
        raise CallRefused(
            f"the program uses {program['qubits']} qubits, and the machine has {len(machine.qubits)} calibrated ones",
            code="TOO_MANY_QUBITS",
        )
    if not machine.resets and any(name == "reset" for name, _, _ in program["steps"]):
        raise CallRefused("the machine has no resets within circuits now", code="UNSUPPORTED_CONSTRUCT")


def _target(machine: Machine) -> Target:
    """Return what Qiskit compiles for: rotations about Z cost nothing, because IQM's gates have a phase."""
    each: dict[tuple[int, ...], None] = {(number,): None for number in range(len(machine.qubits))}
    target = Target(num_qubits=len(machine.qubits))
    for operation in (RXGate(Parameter("angle")), RZGate(Parameter("angle")), Measure(), Delay(Parameter("time"))):
        target.add_instruction(operation, dict(each))
    if machine.pairs:
        target.add_instruction(CZGate(), dict.fromkeys(sorted(machine.pairs)))
    if machine.resets:
        target.add_instruction(Reset(), {(number,): None for number in sorted(machine.resets)})
    return target


def _circuit(program: Mapping[str, Any], measurements: int) -> QuantumCircuit:
    """Return a circuit in which each measurement has a bit of its own."""
    circuit, measured = QuantumCircuit(program["qubits"], measurements), 0
    for name, qubits, numbers in program["steps"]:
        if name == "measure":
            circuit.measure(qubits[0], measured)
            measured += 1
        elif name == "delay":
            circuit.delay(numbers[0], qubits[0], unit="s")
        elif name == "barrier":
            circuit.barrier(qubits)
        else:
            getattr(circuit, name)(*numbers, *qubits)
    return circuit


def _keys(steps: Sequence[Any]) -> Sequence[str]:
    """Return the key of each measurement."""
    clbits = [numbers[0] for name, _, numbers in steps if name == "measure"]
    last = {clbit: place for place, clbit in enumerate(clbits)}
    return [f"{BIT}{clbit}" if last[clbit] == place else f"{_OVERWRITTEN}{place}" for place, clbit in enumerate(clbits)]


def _operations(circuit: QuantumCircuit, names: Sequence[str], keys: Sequence[str]) -> Iterator[CircuitOperation]:
    """Yield IQM's operations. A rotation about Z becomes a part of the phase of the gates that follow it."""
    turned = [0.0] * len(names)
    for step in circuit.data:
        qubits = [circuit.find_bit(qubit).index for qubit in step.qubits]
        locus = tuple(names[qubit] for qubit in qubits)
        match step.operation.name:
            case "rz":
                turned[qubits[0]] += float(step.operation.params[0])
            case "rx":
                arguments = {"angle": float(step.operation.params[0]), "phase": -turned[qubits[0]]}
                yield CircuitOperation(name="prx", locus=locus, args=arguments)
            case "measure":
                key = keys[circuit.find_bit(step.clbits[0]).index]
                yield CircuitOperation(name="measure", locus=locus, args={"key": key})
                turned[qubits[0]] = 0.0
            case "reset":
                yield CircuitOperation(name="reset", locus=locus, args={})
                turned[qubits[0]] = 0.0
            case "delay":
                yield CircuitOperation(name="delay", locus=locus, args={"duration": float(step.operation.duration)})
            case name:
                yield CircuitOperation(name=name, locus=locus, args={})
