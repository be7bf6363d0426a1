# SPDX-License-Identifier: Apache-2.0
"""IR circuits as circuits of Aer: for each simulation method the gates that it has, and its form of noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from qiskit.circuit import (
    Barrier,
    CircuitInstruction,
    ControlFlowOp,
    Delay,
    ForLoopOp,
    Gate,
    Instruction,
    Measure,
    QuantumCircuit,
    Qubit,
    Reset,
    WhileLoopOp,
)
from qiskit.circuit import library as qk

from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import contains
from qonduit_server.ir.clifford import clifford_gates
from qonduit_server.ir.lowering import Lowering, standard_gate_classes
from qonduit_server.ir.noise import Channel, ReadoutError
from qonduit_server.ir.symbolic import is_open
from qonduit_server.providers.aer.aer_methods import BASIS, DENSITY_MATRIX, MATRIX_PRODUCT_STATE, STABILIZER

if TYPE_CHECKING:
    from qiskit.circuit import Clbit

#: A density matrix has no controls of most gates.
_DENSITY_MATRIX_LACKS: Final = frozenset(("cu", "cu3", "csx", "crx", "cry", "crz", "ccz", "cswap", "mcx", "mcphase"))
#: Of a gate on three qubits a matrix product state does not report what it discards.
_MATRIX_PRODUCT_STATE_LACKS: Final = _DENSITY_MATRIX_LACKS | {"ccx"}
_LOOPS: Final = {"while_loop": WhileLoopOp, "for_loop": ForLoopOp}
_OTHERS: Final = frozenset(("measure", "reset", "barrier", "delay"))
_NATIVE: Final = frozenset(BASIS) | _OTHERS
_NAMES: Final = {
    DENSITY_MATRIX: _NATIVE - _DENSITY_MATRIX_LACKS,
    MATRIX_PRODUCT_STATE: _NATIVE - _MATRIX_PRODUCT_STATE_LACKS,
}
_GATES: Final = {
    kind().name: kind()
    for kind in (
        qk.HGate, qk.SGate, qk.SdgGate, qk.XGate, qk.YGate, qk.ZGate, qk.SXGate, qk.SXdgGate,
        qk.CXGate, qk.CYGate, qk.CZGate, qk.SwapGate,
    )
}  # fmt: skip
_CLASSES: Final = standard_gate_classes() | {qk.UnitaryGate, Measure, Reset, Barrier, Delay}
#: Take no time, or are classical.
_NO_OPERATIONS: Final = frozenset(("barrier", "delay", "store", "break_loop", "continue_loop"))

#: Gates on up to this many qubits are merged with the channel that follows them.
_MOST_MERGED_QUBITS: Final = 2

#: Operations with their qubits, in order.
Operations = Iterable[tuple[Instruction, tuple[int, ...]]]


class AerCircuits:
    """Makes circuits for one device and simulation method.

    Args:
        device: for messages, "PROVIDER/device".
        method: the simulation method.
        loops: whether the circuits have loops. Aer (0.18) draws the errors of a mixture once for all rounds of a loop,
            so channels become Kraus operators there.
    """

    def __init__(self, device: str, method: str, loops: bool = False) -> None:
        self._method = method
        self._loops = loops
        self._names = _NAMES.get(method, _NATIVE)
        self.lowering = Lowering(device, self.is_native)
        self._channels: dict[object, tuple[Channel, Instruction]] = {}
        self._noisy_gates: dict[object, tuple[Channel, Instruction]] = {}

    def is_native(self, operation: Instruction) -> bool:
        """Return whether the method takes an operation as it is.

        By name and by class: a program may define a gate of its own under the name of one that Aer has.
        """
        if operation.name not in self._names or operation.base_class not in _CLASSES:
            return False
        return not (self._method == MATRIX_PRODUCT_STATE and operation.num_qubits > 2 and operation.name not in _OTHERS)

    def _is_kept(self, operation: Instruction) -> bool:
        return operation.name in _OTHERS if self._method == STABILIZER else self.is_native(operation)

    def steps(self, operations: Operations) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
        """Yield operations, none of which is classical, as those that the method has."""
        for operation, places in operations:
            for step, own in self._expanded(operation):
                yield step, tuple([places[place] for place in own])

    def density_steps(self, operations: Operations) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
        """Yield operations as `steps` does, with a gate and the channel that follows it as one operation.

        A density matrix is evolved in one pass for both instead of two.
        """
        waiting: tuple[Instruction, tuple[int, ...]] | None = None
        for operation, places in operations:
            if isinstance(operation, Channel) and waiting is not None and waiting[1] == places:
                yield self._noisy_gate(waiting[0], operation), places
                waiting = None
                continue
            for step in self.steps([(operation, places)]):
                if waiting is not None:
                    yield waiting
                waiting = None
                if _is_merged(*step):
                    waiting = step
                else:
                    yield step
        if waiting is not None:
            yield waiting

    def _noisy_gate(self, gate: Instruction, channel: Channel) -> Instruction:
        """Return a gate with the channel behind it as Kraus operators."""
        key = None if isinstance(gate, qk.UnitaryGate) else (gate.name, *gate.params, _key(channel))
        known = self._noisy_gates.get(key)
        if known is None or key is None:
            matrix = gate.to_matrix()
            found = Instruction("kraus", gate.num_qubits, 0, [kraus @ matrix for kraus in channel.kraus])
            known = self._noisy_gates[key] = (channel, found)
        return known[1]

    def circuit(self, operations: Operations, qubits: int, clbits: int = 0) -> QuantumCircuit:
        """Return a circuit of operations that the method has."""
        native = QuantumCircuit(qubits, clbits)
        wires = native.qubits
        for operation, places in operations:
            native._append(CircuitInstruction(operation, [wires[place] for place in places]))
        return native

    def _expanded(self, operation: Instruction) -> list[tuple[Instruction, tuple[int, ...]]]:
        if isinstance(operation, Channel):
            return [(self._channel(operation), tuple(range(operation.num_qubits)))]
        if self._method == STABILIZER and operation.name not in _OTHERS:
            found = clifford_gates(operation)
            if found is None:  # a gate with a reset in it
                return [step for inner, own in self._resets(operation) for step in self._placed(inner, own)]
            return [(_GATES[name], places) for name, places in found]
        return self.lowering.expand(operation)

    def _placed(self, operation: Instruction, places: tuple[int, ...]) -> list[tuple[Instruction, tuple[int, ...]]]:
        return [(step, tuple([places[place] for place in own])) for step, own in self._expanded(operation)]

    def _resets(self, operation: Instruction) -> list[tuple[Instruction, tuple[int, ...]]]:
        definition = operation.definition
        if definition is None or not any(inner.operation.name == "reset" for inner in definition.data):
            raise DeviceError("UNSUPPORTED_METHOD", f"the simulation method {self._method} has no {operation.name}")
        find = definition.find_bit
        return [(inner.operation, tuple(find(each).index for each in inner.qubits)) for inner in definition.data]

    def _channel(self, channel: Channel) -> Instruction:
        """Return a channel in Aer's form; equal mixtures in one form, because Aer prepares each form in every call."""
        key = _key(channel)
        known = self._channels.get(key)
        if known is None:
            known = self._channels[key] = (channel, _aer_channel(channel, self._loops))
        return known[1]

    # ---- with classical bits

    def lowered(self, quantum: QuantumCircuit, kept_errors: bool) -> tuple[QuantumCircuit, bool]:
        """Replace what the method does not have; a circuit without such operations is returned as it is.

        Args:
            quantum: the IR circuit.
            kept_errors: whether readout errors are applied in the circuit, by a qubit of their own behind the others;
                else the caller applies them, and they are left out.

        Returns:
            The circuit, and whether it measures.
        """
        measures, clean = False, self._method != STABILIZER
        for instruction in quantum.data:
            operation = instruction.operation
            measures = measures or bool(instruction.clbits)
            if not self.is_native(operation):
                clean = False
        if clean:
            return quantum, measures
        lowered = quantum.copy_empty_like()
        spare: Sequence[Qubit] = ()
        if kept_errors:
            lowered.add_bits([Qubit()])
            spare = lowered.qubits[quantum.num_qubits :]
        self._append_all(lowered, quantum, lowered.qubits[: quantum.num_qubits], quantum.clbits, spare)
        return lowered, measures

    def _append_all(
        self,
        target: QuantumCircuit,
        block: QuantumCircuit,
        qubits: Sequence[Qubit],
        clbits: Sequence[Clbit],
        spare: Sequence[Qubit],
    ) -> None:
        """Append what a block does, lowered, where its qubits and bits are these of the target.

        Blocks of control flow are given all qubits: Aer (0.18) puts them in line between marks, in an order that only
        shared qubits keep.
        """
        find = block.find_bit
        for instruction in block.data:
            operation = instruction.operation
            on = [qubits[find(qubit).index] for qubit in instruction.qubits]
            bits = [clbits[find(clbit).index] for clbit in instruction.clbits]
            if isinstance(operation, ControlFlowOp):
                blocks = []
                for inner in operation.blocks:
                    wide = QuantumCircuit(target.qubits, bits)
                    self._append_all(wide, inner, on, bits, spare)
                    blocks.append(wide)
                target.append(operation.replace_blocks(blocks), target.qubits, bits, copy=False)
            elif isinstance(operation, ReadoutError):
                if spare:
                    self._append_error(target, operation, bits, spare)
            elif operation.name == "store" or self._is_kept(operation):
                target._append(CircuitInstruction(operation, on, bits))
            else:
                for step, places in self._expanded(operation):
                    target.append(step, [on[place] for place in places], copy=False)

    def _append_error(
        self, target: QuantumCircuit, error: ReadoutError, bits: list[Clbit], spare: Sequence[Qubit]
    ) -> None:
        """Append a readout error: the bit goes to the spare qubit, which has the error as a channel, and back."""
        flipped = QuantumCircuit(target.qubits, bits)
        flipped.x(spare[0])
        target.reset(spare[0])
        target.if_else((bits[0], 1), flipped, None, target.qubits, bits)
        target.append(_aer_readout_error(error, self._loops), spare, copy=False)
        target.measure(spare[0], bits[0])


def _key(channel: Channel) -> object:
    """Return what equal mixtures of Pauli operators share; else it is the same for one object only."""
    return tuple(channel.paulis.items()) if channel.paulis is not None else id(channel)


def _is_merged(gate: Instruction, places: tuple[int, ...]) -> bool:
    """Return whether a gate is merged with a channel behind it; one whose angles are not known yet has no matrix."""
    return isinstance(gate, Gate) and len(places) <= _MOST_MERGED_QUBITS and not any(map(is_open, gate.params))


def _aer_channel(channel: Channel, as_kraus: bool) -> Instruction:
    from qiskit.quantum_info import Kraus
    from qiskit_aer.noise import pauli_error

    if channel.paulis is None or as_kraus:
        return Kraus(list(channel.kraus)).to_instruction()
    total = sum(channel.paulis.values())
    return pauli_error([(label, each / total) for label, each in channel.paulis.items() if each > 0]).to_instruction()


def _aer_readout_error(error: ReadoutError, as_kraus: bool) -> Instruction:
    """Return a readout error as a mixture of: nothing, a flip, 0 whatever it was, and 1."""
    from qiskit.quantum_info import Kraus
    from qiskit_aer.noise import QuantumError

    up, down = error.prob_1_given_0, error.prob_0_given_1
    if as_kraus:
        kept = ([[(1 - up) ** 0.5, 0], [0, 0]], [[0, 0], [0, (1 - down) ** 0.5]])
        return Kraus([*kept, [[0, 0], [up**0.5, 0]], [[0, down**0.5], [0, 0]]]).to_instruction()
    flip = max(0.0, up + down - 1)
    parts = {"": 1 - up - down + flip, "x": flip, "0": down - flip, "1": up - flip}
    mixture = []
    for name, probability in parts.items():
        if probability <= 0:
            continue
        part = QuantumCircuit(1)
        if name in ("0", "1"):
            part.reset(0)
        if name in ("x", "1"):
            part.x(0)
        if not name:
            part.id(0)
        mixture.append((part, probability))
    return QuantumError(mixture).to_instruction()


def has_loops(quantum: QuantumCircuit) -> bool:
    """Return whether an IR circuit has loops, in blocks of control flow too."""
    return contains(quantum, _LOOPS)


def has_blocks(circuit: QuantumCircuit) -> bool:
    """Return whether a circuit has branches or loops."""
    kinds = circuit.count_ops()
    return "while_loop" in kinds or "if_else" in kinds


def operations_of(circuit: QuantumCircuit) -> Iterator[Sequence[int] | None]:
    """Yield the qubits of each operation, as `CompiledCircuit.operations` does."""
    from qiskit.circuit import IfElseOp

    find = circuit.find_bit
    for instruction in circuit.data:
        operation = instruction.operation
        blocks = getattr(operation, "blocks", None)
        if blocks is not None:
            for block in blocks:  # which have all of the circuit's qubits
                yield None
                yield from operations_of(block)
            if not isinstance(operation, IfElseOp):
                yield None
        elif operation.name not in _NO_OPERATIONS:
            yield [find(qubit).index for qubit in instruction.qubits]
