# SPDX-License-Identifier: Apache-2.0
"""Convert a Cirq circuit to a program, and map its measurements to registers of the result.

A result contains the final value of each register, and a register is a measurement key. If a key is measured
repeatedly, each measurement gets its own register, and conditions refer to the register they use. The number of
measurements in loops is not known: a tag of the loop asks the server for a register with all records of its keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Final

import cirq
import numpy as np
import sympy
from cirq.sim.simulator import check_all_resolved

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.circuits import program_of
from qonduit_client.cirq.gate_decomposition import (
    NO_UNITARY,
    NeedsValues,
    is_loop,
    loop_of,
    moments_of,
    readable,
)
from qonduit_client.errors import ProgramUnreadable

#: Qubit types that a server supports; other qubits are renamed, since results do not contain qubits.
_QUBITS: Final = frozenset((cirq.LineQubit, cirq.GridQubit, cirq.NamedQubit))
#: The end of the names of registers with all records of a key.
RECORDS: Final = "#records"
#: Maximum length of register names; keys of wide measurements, which list all qubits, can be longer.
_LONGEST_NAME: Final = 1000


@dataclass(frozen=True)
class Measured:
    """One measurement of a circuit.

    Attributes:
        key: its key in Cirq.
        register: its register in the program.
        flips: for each qubit, whether its value is inverted.
        confusion: the confusion maps; see `cirq.MeasurementGate`.
        rounds: of a key that a loop measures, the maximum number of its measurements; else 0.
    """

    key: str
    register: str
    flips: tuple[bool, ...]
    confusion: tuple[tuple[tuple[int, ...], Any], ...]
    rounds: int = 0


@dataclass(frozen=True)
class Measurements:
    """All measurements of a program.

    Attributes:
        measured: in the execution order of Cirq's simulators; one for all measurements of a key that a loop measures.
        sampled: whether `cirq.Simulator` samples the final state of this circuit instead of running each shot. The two
            modes differ in the type of the numbers and in confusion maps; see `records_of`.
    """

    measured: tuple[Measured, ...]
    sampled: bool


@dataclass(frozen=True)
class Prepared:
    """A program and its measurements.

    Attributes:
        program: with the symbols as inputs.
        measurements: its measurements.
        values: of the symbols by name; programs of one circuit share `program` and differ in these.
    """

    program: QuantumProgram
    measurements: Measurements
    values: Mapping[str, float] = field(default_factory=dict)


def prepared(
    circuit: cirq.AbstractCircuit, points: Sequence[cirq.ParamResolver], max_rounds: int
) -> Iterator[Prepared]:
    """Yield the program of each point of a sweep.

    If the parameters are real numbers at all points, the circuit is serialized once, with the values as inputs.
    Otherwise Cirq resolves the parameters of each point.

    Args:
        circuit: the circuit.
        points: values of its parameters.
        max_rounds: the maximum number of measurements of a key that a loop measures.

    Raises:
        TypeError: an operation is not supported.
        ValueError: the circuit is not supported, or a point lacks a value of a symbol.
    """
    names = sorted(cirq.parameter_names(circuit))
    values = [_numbers(names, point) for point in points]
    if all(each is not None for each in values):
        try:
            template = _prepared(circuit, max_rounds)
        except (NeedsValues, ProgramUnreadable):  # for example, SymPy functions that Cirq cannot serialize
            if not names:
                raise
        else:
            for each in values:
                yield replace(template, values=each or {})
            return
    for point in points:
        resolved = cirq.resolve_parameters(circuit, point)
        check_all_resolved(resolved)
        yield _prepared(resolved, max_rounds)


def _numbers(names: Sequence[str], point: cirq.ParamResolver) -> dict[str, float] | None:
    """Return the values of all parameters; None if one is not a real number."""
    values = {name: point.value_of(name) for name in names}
    if all(isinstance(value, Real) and math.isfinite(value) for value in values.values()):
        return {name: float(value) for name, value in values.items()}
    return None


def _prepared(circuit: cirq.AbstractCircuit, max_rounds: int) -> Prepared:
    circuit = _known_qubits(circuit)
    parts = [list(readable(moment)) for moment in circuit]
    looped = {key for own in parts for each in own if is_loop(each) for key in cirq.measurement_key_objs(each)}
    naming = _Naming(looped, max_rounds)
    changed = bool(getattr(circuit, "tags", ()))
    moments: list[cirq.Moment] = []
    for moment, own in zip(circuit, parts, strict=True):
        operations = [naming.named(operation) for operation in own]
        replaced = moments_of(moment, operations)
        moments += replaced
        if len(replaced) != 1 or replaced[0] is not moment:
            changed = True
            # Cirq runs each shot if a sub-circuit or a gate contains measurements.
            naming.sampled = naming.sampled and _measurements(operations) == _measurements(moment)
    program = program_of(cirq.Circuit(moments) if changed else circuit)
    return Prepared(program, Measurements(tuple(naming.measured), naming.sampled))


def _known_qubits(circuit: cirq.AbstractCircuit) -> cirq.AbstractCircuit:
    qubits = circuit.all_qubits()
    if any(qubit.dimension != 2 for qubit in qubits):
        raise ValueError("QonduitSampler supports qubits only, but the circuit has qudits of other dimensions")
    if all(type(qubit) in _QUBITS for qubit in qubits):
        return circuit
    names = {qubit: cirq.NamedQubit(f"qubit {place}") for place, qubit in enumerate(sorted(qubits))}
    return circuit.unfreeze().transform_qubits(names)


def _measurements(operations: Iterable[cirq.Operation]) -> int:
    return sum(isinstance(operation.gate, cirq.MeasurementGate) for operation in operations)


def _plain(operation: cirq.Operation, gate: cirq.MeasurementGate, called: cirq.MeasurementKey) -> cirq.Operation:
    """Return a measurement with another key and without confusion maps; the same if it is so already."""
    if called == gate.mkey and not gate.confusion_map:
        return operation
    return cirq.MeasurementGate(len(operation.qubits), called, gate.invert_mask).on(*operation.qubits)


class _Naming:
    """Assigns register names to measurements.

    Args:
        looped: the keys that loops measure; each of them has one register for all measurements.
        max_rounds: their maximum number of measurements.
    """

    def __init__(self, looped: Iterable[cirq.MeasurementKey], max_rounds: int) -> None:
        self.measured: list[Measured] = []
        #: Whether the circuit so far has only gates and final measurements.
        self.sampled = True
        self._seen: set[cirq.Qid] = set()
        self._taken: set[str] = set()
        #: The names of the measurements of each key.
        self._called: dict[str, list[cirq.MeasurementKey]] = {}
        self._confused: set[str] = set()
        self._max_rounds = max_rounds
        self._within_loop = False
        self._looped: dict[str, cirq.MeasurementKey] = {}
        for key in sorted(looped, key=str):
            self._looped[str(key)] = called = self._free(key)
            self._taken |= {str(called), f"{called}{RECORDS}"}

    def named(self, operation: cirq.Operation) -> cirq.Operation:
        """Return the operation with the register names of its measurement and its conditions."""
        if isinstance(operation.gate, cirq.MeasurementGate):
            self._seen.update(operation.qubits)
            return self._measurement(operation, operation.gate)
        if type(operation) is cirq.ClassicallyControlledOperation:
            self.sampled = False
            return self._conditional(operation)
        if is_loop(operation):
            self.sampled = False
            return self._loop(operation)
        unitary = type(operation.gate) not in NO_UNITARY if operation.gate else cirq.has_unitary(operation)
        self.sampled = self.sampled and unitary and self._seen.isdisjoint(operation.qubits)
        return operation

    def _measurement(self, operation: cirq.Operation, gate: cirq.MeasurementGate) -> cirq.Operation:
        key = gate.mkey
        if str(key) in self._looped:
            return self._looped_measurement(operation, gate)
        called = self._free(key)
        self._taken.add(str(called))
        self._called.setdefault(str(key), []).append(called)
        confusion = tuple((tuple(places), np.asarray(matrix)) for places, matrix in gate.confusion_map.items())
        self.measured.append(Measured(str(key), str(called), tuple(gate.full_invert_mask()), confusion))
        if confusion:
            self._confused.add(str(key))
        return _plain(operation, gate, called)

    def _looped_measurement(self, operation: cirq.Operation, gate: cirq.MeasurementGate) -> cirq.Operation:
        key, called = gate.mkey, self._looped[gate.key]
        if gate.confusion_map:
            raise ValueError(
                f"a confusion_map of the key {key}, which a CircuitOperation with repeat_until measures, "
                "is not supported: add the error to the circuit"
            )
        if str(key) not in self._called:
            self._called[str(key)] = [called]
            flips = tuple(gate.full_invert_mask())
            self.measured.append(Measured(str(key), str(called), flips, (), self._max_rounds))
        return _plain(operation, gate, called)

    def _loop(self, operation: cirq.CircuitOperation) -> cirq.Operation:
        outermost, self._within_loop = not self._within_loop, True
        body = [
            each
            for moment in operation.circuit
            for each in moments_of(moment, [self.named(own) for own in moment.operations])
        ]
        self._within_loop = not outermost
        loop = loop_of(body, self._condition(operation.repeat_until))
        return loop.with_tags(f"qonduit.records={self._max_rounds}") if outermost else loop

    def _free(self, key: cirq.MeasurementKey) -> cirq.MeasurementKey:
        called, number = key, 1
        while str(called) in self._taken or len(str(called).encode()) > _LONGEST_NAME:
            number += 1
            called = cirq.MeasurementKey(f"{key.name[: _LONGEST_NAME // 8]}#{number}", key.path)
        return called

    def _conditional(self, operation: cirq.Operation) -> cirq.Operation:
        before = sorted(operation.classical_controls, key=str)
        after = [self._condition(each) for each in before]
        if before == after:
            return operation
        return operation.without_classical_controls().with_classical_controls(*after)

    def _condition(self, condition: Any) -> Any:
        for key in condition.keys:
            if str(key) not in self._called:
                raise ValueError(f"Measurement key {key} missing when testing classical control")
            if str(key) in self._confused:
                raise ValueError(
                    f"a condition on {key}, which has a confusion_map, is not supported: "
                    "conditions read values without confusion"
                )
        if isinstance(condition, cirq.SympyCondition):
            names = {sympy.Symbol(str(key)): sympy.Symbol(str(self._called[str(key)][-1])) for key in condition.keys}
            return cirq.SympyCondition(condition.expr.xreplace({old: new for old, new in names.items() if old != new}))
        if not isinstance(condition, cirq.KeyCondition | cirq.BitMaskKeyCondition):
            return condition
        if str(condition.key) in self._looped and condition.index != -1:
            raise ValueError(
                f"a condition on the measurement {condition.index} of {condition.key} is not supported, because a "
                "CircuitOperation with repeat_until measures this key: only -1, the last one, is"
            )
        called = self._called[str(condition.key)][condition.index]
        if isinstance(condition, cirq.KeyCondition):
            return cirq.KeyCondition(called)
        return cirq.BitMaskKeyCondition(called, -1, condition.target_value, condition.equal_target, condition.bitmask)
