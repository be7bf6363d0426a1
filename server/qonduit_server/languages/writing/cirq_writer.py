# SPDX-License-Identifier: Apache-2.0
"""Writer of Cirq's JSON, without Cirq: line qubits, and a measurement key for each register."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from qonduit_server.ir.builder import Write
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, conjunction, negation
from qonduit_server.ir.noise import ReadoutError
from qonduit_server.ir.visitor import (
    BarrierStep,
    BranchStep,
    ChannelStep,
    DelayStep,
    GateStep,
    LoopStep,
    MeasureStep,
    Plain,
    ReadoutErrorStep,
    ResetStep,
    bits_read,
    every,
    qubits_used,
    walk,
)
from qonduit_server.languages.writing import cirq_noise
from qonduit_server.languages.writing.register_layout import check_sizes, dropped, identifiers, refuse
from qonduit_server.languages.writing.terminal_measurement import at_the_end
from qonduit_server.languages.writing.write_result import WriteResult

_TITLE: Final = "Cirq"
_NAME: Final = re.compile(r"[^:\s][^:]*")
#: Maximum number of cases of a condition; each repeats the conditional operations.
_MAX_CASES: Final = 64

_Json: TypeAlias = dict[str, Any]
#: Required values of IR bits.
_Case: TypeAlias = tuple[tuple[int, bool], ...]


def _power(name: str, exponent: float = 1.0, shift: float = 0.0) -> _Json:
    return {"cirq_type": f"{name}PowGate", "exponent": exponent, "global_shift": shift}


#: Rotations, whose exponents are angles in half turns.
_GATES: Final[dict[str, Callable[..., _Json]]] = {
    "id": lambda: {"cirq_type": "IdentityGate", "num_qubits": 1, "qid_shape": [2]},
    "x": lambda: _power("X"),
    "y": lambda: _power("Y"),
    "z": lambda: _power("Z"),
    "h": lambda: _power("H"),
    "s": lambda: _power("Z", 0.5),
    "sdg": lambda: _power("Z", -0.5),
    "t": lambda: _power("Z", 0.25),
    "tdg": lambda: _power("Z", -0.25),
    "sx": lambda: _power("X", 0.5),
    "sxdg": lambda: _power("X", -0.5),
    "p": lambda angle: _power("Z", angle / math.pi),
    "u1": lambda angle: _power("Z", angle / math.pi),
    "rx": lambda angle: {"cirq_type": "Rx", "rads": angle},
    "ry": lambda angle: {"cirq_type": "Ry", "rads": angle},
    "rz": lambda angle: {"cirq_type": "Rz", "rads": angle},
    "cx": lambda: _power("CX"),
    "cz": lambda: _power("CZ"),
    "cp": lambda angle: _power("CZ", angle / math.pi),
    "cu1": lambda angle: _power("CZ", angle / math.pi),
    "swap": lambda: _power("Swap"),
    "iswap": lambda: _power("ISwap"),
    "rxx": lambda angle: _power("XX", angle / math.pi, -0.5),
    "ryy": lambda angle: _power("YY", angle / math.pi, -0.5),
    "rzz": lambda angle: _power("ZZ", angle / math.pi, -0.5),
    "ccx": lambda: _power("CCX"),
    "ccz": lambda: _power("CCZ"),
    "cswap": lambda: {"cirq_type": "CSwapGate"},
}
_MATRICES: Final = frozenset(("u", "u2", "u3", "unitary"))


class _Natives:
    """The native gates, and small matrices."""

    def __contains__(self, name: object) -> bool:
        return name in _GATES or name in _MATRICES


class _CannotSay(Exception):
    """The registers are not measured each by one operation, in order and unconditionally."""


def write(circuit: Circuit) -> WriteResult:
    """Write a program as Cirq's JSON.

    One operation measures a register, and conditions refer to registers that were measured before. Other programs are
    measured at the end instead.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, it has a loop that ends by a measurement.
    """
    check_sizes(circuit, _TITLE)
    steps = walk(circuit.quantum, _TITLE, _Natives(), noise=True, readout_errors=True)
    if any(isinstance(step, LoopStep) for step in every(steps)):
        raise refuse(_TITLE, "loop that ends by a measurement", "QASM3")
    warnings = dropped(steps, (BarrierStep, DelayStep), _TITLE)
    try:
        program = _Program(circuit, steps)
        operations = program.operations()
    except _CannotSay:
        circuit = at_the_end(circuit, _TITLE, _Natives(), noise=True)
        warnings.append(circuit.warnings[-1])
        steps = walk(circuit.quantum, _TITLE, _Natives(), noise=True)
        program = _Program(circuit, steps)
        operations = program.operations()
    names, renamed = identifiers([each.name for each in circuit.registers], _NAME, (), _TITLE)
    idle = sorted(
        set(range(circuit.quantum.num_qubits)) - qubits_used([s for s in steps if not isinstance(s, BarrierStep)])
    )
    moments = _Moments(names, [len(each.bits) for each in circuit.registers], program.confusions())
    for qubit in idle:
        moments.add(_gate(_GATES["id"](), (qubit,)), (qubit,))
    for operation in operations:
        moments.take(operation)
    return WriteResult(json.dumps(moments.circuit()) + "\n", (*renamed, *warnings))


class _Program:
    """Finds the positions at which whole registers are measured."""

    def __init__(self, circuit: Circuit, steps: Sequence[Plain]) -> None:
        self._registers = circuit.registers
        self._steps = [step for step in steps if not isinstance(step, BarrierStep | DelayStep)]
        #: The register and index of each IR bit.
        self.homes: dict[int, tuple[int, int]] = {}
        self._errors: dict[int, list[ReadoutError]] = {}
        for number, register in enumerate(circuit.registers):
            for place, entry in enumerate(register.bits):
                if not isinstance(entry, int) or entry in self.homes:
                    raise _CannotSay
                self.homes[entry] = (number, place)

    def operations(self) -> Iterator[Any]:
        """Yield steps, and for a register's measurement a tuple of its number and its qubits."""
        sources = self._sources()
        stops = self._stops(sources)
        position = 0
        due: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        for number, register in enumerate(self._registers):
            clbits = [each for each in register.bits if isinstance(each, int)]
            qubits = tuple(sources[clbit][0] for clbit in clbits)
            if len(set(qubits)) < len(qubits):
                raise _CannotSay
            position = max(position, *(sources[clbit][1] for clbit in clbits))
            if position > min(stops[clbit] for clbit in clbits):
                raise _CannotSay
            due.setdefault(position, []).append((number, qubits))
        return self._merged(due)

    def confusions(self) -> dict[int, list[Any]]:
        """Return the confusion map of each register that has readout errors, once the operations are known."""
        maps: dict[int, list[Any]] = {}
        for clbit, errors in sorted(self._errors.items(), key=lambda each: self.homes[each[0]]):
            number, place = self.homes[clbit]
            maps.setdefault(number, []).append([[place], cirq_noise.confusion(errors)])
        return maps

    def _merged(self, due: dict[int, list[tuple[int, tuple[int, ...]]]]) -> Iterator[Any]:
        for place, step in enumerate(self._steps):
            if not isinstance(step, MeasureStep | ReadoutErrorStep):
                yield from self._flat(step, TRUE)
            yield from due.get(place, ())

    def _sources(self) -> dict[int, tuple[int, int]]:
        """Return the qubit and the step of each IR bit's measurement."""
        sources: dict[int, tuple[int, int]] = {}
        read: set[int] = set()
        for place, step in enumerate(self._steps):
            if isinstance(step, MeasureStep):
                if step.clbit not in self.homes or step.clbit in sources:
                    raise _CannotSay
                sources[step.clbit] = (step.qubit, place)
            elif isinstance(step, ReadoutErrorStep):
                # A condition that came before reads the bit without the error.
                if step.clbit not in sources or step.clbit in read:
                    raise _CannotSay
                self._errors.setdefault(step.clbit, []).append(step.error)
            elif any(isinstance(inner, MeasureStep | ReadoutErrorStep | Write) for inner in every((step,))):
                raise _CannotSay
            read |= bits_read((step,))
        if sources.keys() != self.homes.keys():
            raise _CannotSay
        return sources

    def _stops(self, sources: dict[int, tuple[int, int]]) -> dict[int, int]:
        """Return the latest step at which each IR bit may be measured."""
        stops = dict.fromkeys(sources, len(self._steps))
        since: dict[int, list[int]] = {}
        for place, step in enumerate(self._steps):
            if isinstance(step, MeasureStep):
                since.setdefault(step.qubit, []).append(step.clbit)
                continue
            for qubit in qubits_used((step,)):
                for clbit in since.pop(qubit, ()):
                    stops[clbit] = min(stops[clbit], place - 1)
            for clbit in bits_read((step,)):
                if clbit not in stops:
                    raise _CannotSay
                stops[clbit] = min(stops[clbit], place - 1)
        return stops

    def _flat(self, step: Plain, guard: Formula) -> Iterator[Any]:
        """Yield steps with their required values of registers."""
        if isinstance(step, BranchStep):
            for body, condition in ((step.then, step.condition), (step.otherwise, negation(step.condition))):
                for inner in body:
                    yield from self._flat(inner, conjunction((guard, condition)))
        elif not isinstance(step, BarrierStep | DelayStep):
            for case in _cases(guard):
                wanted: dict[int, tuple[int, int]] = {}
                for clbit, value in case:
                    number, place = self.homes[clbit]
                    # A key's number has its first qubit as the highest bit.
                    shift = len(self._registers[number].bits) - 1 - place
                    mask, target = wanted.get(number, (0, 0))
                    wanted[number] = (mask | 1 << shift, target | value << shift)
                yield step, wanted


def _cases(guard: Formula) -> list[_Case]:
    """Return the mutually exclusive cases of a condition."""
    cases: list[_Case] = []

    def split(rest: Formula, taken: _Case) -> None:
        if rest == FALSE:
            return
        if rest == TRUE:
            cases.append(taken)
            if len(cases) > _MAX_CASES:
                raise _CannotSay
            return
        pivot = min(rest.bits)
        for value, given in ((False, FALSE), (True, TRUE)):
            split(rest.substitute(lambda k: given if k == pivot else bit(k)), (*taken, (pivot, value)))  # noqa: B023

    split(guard, ())
    return cases


class _Moments:
    """Moments; each operation is in the earliest one where its qubits are free and its condition is known."""

    def __init__(self, names: Sequence[str], sizes: Sequence[int], confusions: dict[int, list[Any]]) -> None:
        self._names = names
        self._sizes = sizes
        self._confusions = confusions
        self._moments: list[list[_Json]] = []
        self._free: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._measured = 0

    def circuit(self) -> _Json:
        moments = [{"cirq_type": "Moment", "operations": operations} for operations in self._moments]
        return {"cirq_type": "Circuit", "moments": moments}

    def add(self, operation: _Json, qubits: Sequence[int], earliest: int = 0) -> int:
        """Return the operation's moment."""
        place = max([earliest, *(self._free.get(qubit, 0) for qubit in qubits)])
        while len(self._moments) <= place:
            self._moments.append([])
        self._moments[place].append(operation)
        self._free.update(dict.fromkeys(qubits, place + 1))
        return place

    def take(self, operation: Any) -> None:
        first, second = operation
        if isinstance(first, int):
            gate = {
                "cirq_type": "MeasurementGate",
                "num_qubits": len(second),
                "key": self._names[first],
                "invert_mask": [],
                "qid_shape": [2] * len(second),
            }
            if first in self._confusions:
                gate["confusion_map"] = self._confusions[first]
            # Results list registers in the order of their measurements.
            self._measured = self.add(_gate(gate, second), second, self._measured)
            self._known[first] = self._measured + 1
            return
        done = _operation(first)
        qubits = qubits_used((first,))
        if not second:
            self.add(done, sorted(qubits))
            return
        conditions = [self._condition(number, *wanted) for number, wanted in sorted(second.items())]
        done = {"cirq_type": "ClassicallyControlledOperation", "conditions": conditions, "sub_operation": done}
        self.add(done, sorted(qubits), max(self._known[number] for number in second))

    def _condition(self, number: int, mask: int, target: int) -> _Json:
        key = {"cirq_type": "MeasurementKey", "name": self._names[number], "path": []}
        if self._sizes[number] == target == 1:
            return {"cirq_type": "KeyCondition", "key": key, "index": -1}
        return {
            "cirq_type": "BitMaskKeyCondition",
            "key": key,
            "index": -1,
            "target_value": target,
            "equal_target": True,
            "bitmask": mask,
        }


def _operation(step: Plain) -> _Json:
    if isinstance(step, ResetStep):
        return _gate({"cirq_type": "ResetChannel", "dimension": 2}, (step.qubit,))
    if isinstance(step, ChannelStep):
        return _gate(*cirq_noise.gate(step.channel, step.qubits))
    assert isinstance(step, GateStep)
    if step.name in _MATRICES:
        # Cirq's first qubit is the highest bit of a matrix.
        return _gate(_matrix(step.matrix), step.qubits[::-1])
    return _gate(_GATES[step.name](*step.numbers), step.qubits)


def _gate(gate: _Json, qubits: Sequence[int]) -> _Json:
    line = [{"cirq_type": "LineQubit", "x": qubit} for qubit in qubits]
    return {"cirq_type": "GateOperation", "gate": gate, "qubits": line}


def _matrix(matrix: np.ndarray[Any, Any]) -> _Json:
    rows = [
        [{"cirq_type": "complex", "real": float(each.real), "imag": float(each.imag)} for each in row] for row in matrix
    ]
    return {"cirq_type": "MatrixGate", "matrix": rows, "qid_shape": [2] * (len(rows).bit_length() - 1)}
