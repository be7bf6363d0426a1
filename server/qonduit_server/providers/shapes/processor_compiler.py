# SPDX-License-Identifier: Apache-2.0
"""Compilation for Google's processors: programs to native gates on coupled qubits, with Cirq's own tools."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cirq
import cirq_google
import networkx as nx
import numpy as np

from qonduit_server.errors import DeviceError
from qonduit_server.providers.shapes.measured_errors import MEASURE, MeasuredErrors, PlacedOperation
from qonduit_server.providers.shapes.processor_programs import FIXED, PAIR, ProcessorProgram, in_order
from qonduit_server.providers.shapes.processor_shapes import Processor

#: How often Cirq compiles, by optimization level; None: until nothing changes. Level 0 replaces gate by gate.
_PASSES: Final[Mapping[int, int | None]] = {1: 1, 2: 2, 3: None}
#: How far a matrix of a native gate may be off, per entry.
_EXACT: Final = 1e-8
_ONE_QUBIT: Final = 1

#: The number of circuits whose routes are kept, and the largest number of operations of such a circuit.
_MAX_ROUTES: Final = 8
_MAX_KEPT_OPERATIONS: Final = 4000


@dataclass(frozen=True)
class NativeCircuit:
    """A circuit of native gates on a processor's qubits.

    Args:
        circuit: in Cirq's form. Its measurements have the keys "0", "1", ...; those at the end happen together.
        layout: the number of the processor's qubit of each qubit of the program.
        clbits: the classical bit of each measurement; None if a later one writes the same bit.
        operations: the names and numbers of its operations, in order.
    """

    circuit: Any
    layout: list[int]
    clbits: Sequence[int | None]
    operations: list[PlacedOperation]

    def dump(self) -> bytes:
        """Return bytes for `load`."""
        about = [self.layout, self.clbits, self.operations, cirq.to_json(self.circuit, indent=None)]
        return zlib.compress(json.dumps(about).encode(), 1)

    @staticmethod
    def load(data: bytes) -> NativeCircuit:
        """Return the circuit of which `dump` returned these bytes."""
        layout, clbits, operations, circuit = json.loads(zlib.decompress(data))
        placed = [(name, on) for name, on in operations]
        return NativeCircuit(cirq.read_json(json_text=circuit), layout, clbits, placed)


class _Place(int):
    """A tag: the place of an operation in the program."""


class ProcessorCompiler:
    """Compiles for one processor.

    Args:
        processor: the shape.
        errors: the measured ones, by which native gates for two qubits are chosen.
    """

    def __init__(self, processor: Processor, errors: MeasuredErrors) -> None:
        self._processor = processor
        self.errors = errors
        self._qubits = [cirq.GridQubit(*map(int, name.split("_"))) for name in processor.qubits]
        self.numbers = {qubit: number for number, qubit in enumerate(self._qubits)}
        self._coupled = frozenset(processor.coupling_map)
        # Not the device's own graph: its order follows that of sets.
        self._graph = nx.Graph()
        self._graph.add_nodes_from(self._qubits)
        self._graph.add_edges_from(
            (self._qubits[first], self._qubits[second]) for first, second in processor.coupling_map if first < second
        )
        gates = {
            "cz": cirq.CZ,
            "syc": cirq_google.SYC,
            "sqrt_iswap": cirq.SQRT_ISWAP,
            "sqrt_iswap_inv": cirq.SQRT_ISWAP_INV,
        }
        self._pairs = {name: (gates[name], cirq.unitary(gates[name])) for name in processor.two_qubit_gates}
        targets = {
            "cz": cirq_google.GoogleCZTargetGateset,
            "syc": cirq_google.SycamoreTargetGateset,
            "sqrt_iswap": cirq.SqrtIswapTargetGateset,
        }
        self._routes: dict[tuple[Any, ...], tuple[Any, dict[Any, Any], dict[Any, Any]]] = {}
        self._gatesets = [make() for name, make in targets.items() if name in processor.two_qubit_gates]

    def compile(self, program: ProcessorProgram, level: int) -> NativeCircuit:
        """Compile a program.

        Args:
            program: one that is not wider than the processor.
            level: how much to optimize, 0 to 3.

        Raises:
            DeviceError: UNSUPPORTED_CONSTRUCT, Cirq cannot place the program.
        """
        operations, clbits = program.operations, program.clbits
        layout = self._own_layout(program)
        places = {cirq.LineQubit(qubit): self._qubits[number] for qubit, number in enumerate(layout)}
        placed = [operation.transform_qubits(places) for operation in operations]
        if all(self._is_coupled(operation) for operation in placed):
            native = self._unchanged(placed)
            if native is not None:
                return self._result(native, layout, clbits)
            routed = cirq.Circuit(placed)
        else:
            routed, layout = self._route(operations, program.qubits)
        found = [self._result(self._translate(routed, gateset, level), layout, clbits) for gateset in self._gatesets]
        return max(found, key=lambda each: self.errors.success_probability(each.operations))

    def _own_layout(self, program: ProcessorProgram) -> list[int]:
        """Return the qubits that the program names; without such names, qubit k is the processor's qubit k."""
        numbers = {name: number for number, name in enumerate(self._processor.qubits)}
        if program.names and all(name in numbers for name in program.names):
            return [numbers[name] for name in program.names]
        return list(range(program.qubits))

    def _is_coupled(self, operation: Any) -> bool:
        on = tuple(self.numbers[qubit] for qubit in operation.qubits)
        return len(on) == 1 or on in self._coupled

    def _unchanged(self, operations: Sequence[Any]) -> Any | None:
        """Return a circuit that has native gates only, as it is; None for others."""
        native = [self._native(operation) for operation in _merged_pairs(operations)]
        return None if None in native else cirq.Circuit(native)

    def _native(self, operation: Any) -> Any | None:
        """Return the native operation that equals an operation; None if there is no such one."""
        if FIXED in operation.tags or cirq.is_measurement(operation) or isinstance(operation.gate, cirq.ResetChannel):
            return operation
        matrix = cirq.unitary(operation)
        if len(operation.qubits) == _ONE_QUBIT:
            # The type counts: Cirq's noise looks for it, and turns around Z have no noise.
            if abs(matrix[0, 1]) < _EXACT and abs(matrix[1, 0]) < _EXACT:
                return cirq.Z(*operation.qubits) ** (np.angle(matrix[1, 1] / matrix[0, 0]) / np.pi)
            return cirq.single_qubit_matrix_to_phxz(matrix).on(*operation.qubits)
        for gate, exact in self._pairs.values():
            if cirq.equal_up_to_global_phase(matrix, exact, atol=_EXACT):
                return gate.on(*operation.qubits)
        return None

    def _route(self, operations: Sequence[Any], qubits: int) -> tuple[Any, list[int]]:
        """Return a circuit with swaps, on coupled qubits, and its layout; unused qubits get the others."""
        last = {qubit: place for place, operation in enumerate(operations) for qubit in operation.qubits}
        ends = [
            cirq.is_measurement(operation) and last[operation.qubits[0]] == place
            for place, operation in enumerate(operations)
        ]
        # Without the measurements at the end: Cirq moves them before swaps of other qubits.
        placed, initial, moved = self._route_of(
            [operation for operation, end in zip(operations, ends, strict=True) if not end]
        )
        routed = cirq.Circuit(placed)
        used = {qubit.x: self.numbers[place] for qubit, place in initial.items()}
        taken = set(used.values())
        free = iter(number for number in range(self._processor.num_qubits) if number not in taken)
        layout = [used[qubit] if qubit in used else next(free) for qubit in range(qubits)]
        places = {cirq.LineQubit(qubit): self._qubits[number] for qubit, number in enumerate(layout)}
        final = {qubit: moved.get(place, place) for qubit, place in places.items()}
        for operation, end in zip(operations, ends, strict=True):
            if end:
                routed.append(operation.transform_qubits(final))
        return routed, layout

    def _route_of(self, operations: Sequence[Any]) -> tuple[list[Any], dict[Any, Any], dict[Any, Any]]:
        """Return the moments of operations with swaps, where qubits begin, and to where swaps move them.

        A route follows from the qubits of the operations alone: the points of a sweep have the same one.
        """
        key = tuple((operation.qubits, cirq.is_measurement(operation)) for operation in operations)
        found = self._routes.get(key)
        if found is None:
            tagged = (operation.with_tags(_Place(place)) for place, operation in enumerate(operations))
            try:
                found = cirq.RouteCQC(self._graph).route_circuit(cirq.Circuit(tagged))
            except ValueError as error:
                raise DeviceError(
                    "UNSUPPORTED_CONSTRUCT",
                    f"Cirq cannot place the program on the qubits of GOOGLE/{self._processor.name}: {error}",
                ) from error
            if len(operations) <= _MAX_KEPT_OPERATIONS:
                self._routes[key] = found
            if len(self._routes) > _MAX_ROUTES:
                del self._routes[next(iter(self._routes))]
        routed, initial, moved = found

        def own(operation: Any) -> Any:
            place = next((tag for tag in operation.tags if isinstance(tag, _Place)), None)
            return operation if place is None else operations[place].with_qubits(*operation.qubits)

        return [cirq.Moment(map(own, moment)) for moment in routed], initial, moved

    def _translate(self, circuit: Any, gateset: Any, level: int) -> Any:
        """Return a circuit with native gates only."""
        context = cirq.TransformerContext(tags_to_ignore=(FIXED,))
        if level:
            compiled = cirq.optimize_for_target_gateset(
                circuit, gateset=gateset, context=context, max_num_passes=_PASSES[level]
            )
        else:
            compiled = cirq.Circuit(
                gateset.decompose_to_target_gateset(operation, place) if len(operation.qubits) > 1 else operation
                for place, operation in enumerate(circuit.all_operations())
            )
        return cirq.Circuit(cirq.Moment(map(self._native, moment)) for moment in compiled)

    def _result(self, circuit: Any, layout: list[int], clbits: Sequence[int | None]) -> NativeCircuit:
        kept = cirq.Circuit(
            cirq.Moment(operation for operation in moment if not isinstance(operation.gate, cirq.IdentityGate))
            for moment in circuit
        )
        # Measured one after another, the qubits that wait would decay for microseconds.
        circuit = cirq.synchronize_terminal_measurements(cirq.drop_empty_moments(kept))
        circuit = in_order(circuit)
        return NativeCircuit(circuit, layout, clbits, list(self._placed(circuit)))

    def _placed(self, circuit: Any) -> Iterator[PlacedOperation]:
        for operation in circuit.all_operations():
            name = self._name(operation)
            if name:
                yield name, [self.numbers[qubit] for qubit in operation.qubits]

    def _name(self, operation: Any) -> str:
        gate = operation.gate
        for kind, name in _NAMES:
            if isinstance(gate, kind):
                return name
        return next((name for name, (native, _) in self._pairs.items() if native == gate), "")


_NAMES: Final = (
    (cirq.PhasedXZGate, "u"),
    (cirq.ZPowGate, "rz"),
    (cirq.MeasurementGate, MEASURE),
    (cirq.ResetChannel, "reset"),
)


def _merged_pairs(operations: Sequence[Any]) -> list[Any]:
    """Merge gates that follow each other on the same two qubits: the IR has several for one of Google's."""
    merged: list[Any] = []
    last: dict[Any, int] = {}
    for operation in operations:
        on = operation.qubits
        place = last.get(on[0], -1)
        if len(on) == PAIR and place >= 0 and place == last.get(on[1]) and len(merged[place].qubits) == PAIR:
            pair = merged[place].qubits
            both = cirq.Circuit(merged[place], operation).unitary(qubit_order=pair)
            merged[place] = cirq.MatrixGate(both).on(*pair)
            continue
        last.update(dict.fromkeys(on, len(merged)))
        merged.append(operation)
    return merged
