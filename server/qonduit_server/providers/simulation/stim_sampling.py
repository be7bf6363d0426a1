# SPDX-License-Identifier: Apache-2.0
"""Circuits that Stim samples as a whole: conditions on measured bits choose among Pauli operators only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import stim
from numpy.typing import NDArray
from qiskit.circuit import Clbit, IfElseOp, Instruction, QuantumCircuit, Store, WhileLoopOp
from qiskit.circuit.classical import expr

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.condition_formulas import bits_of_expression, condition_formula
from qonduit_server.ir.formula import FALSE, Formula, bit, parity
from qonduit_server.ir.noise import Channel, ReadoutError
from qonduit_server.providers.simulation.sampling import count_rows
from qonduit_server.providers.simulation.stim_text import StimText

#: Samples of one call of Stim take up to this many bytes, one byte for each measured bit.
_BLOCK_BYTES = 1 << 24
#: Stim simulates this many shots at once.
_SMALLEST_BLOCK = 1024


class NotSampled(Exception):
    """The circuit depends on its measured bits in other ways."""


@dataclass(frozen=True)
class SampledCircuit:
    """A circuit to sample.

    Args:
        circuit: in Stim's form.
        bits: for each classical bit that is not always 0, its number and its value as a formula of Stim's records.
        errors: readout errors that Stim lacks, in order: the place in `bits`, and the two probabilities.
        records: the number of records of a shot.
    """

    circuit: stim.Circuit
    bits: Sequence[tuple[int, Formula]]
    errors: Sequence[tuple[int, float, float]]
    records: int

    @property
    def block(self) -> int:
        """The number of shots in one call of Stim."""
        return max(_SMALLEST_BLOCK, _BLOCK_BYTES // max(1, self.records) // _SMALLEST_BLOCK * _SMALLEST_BLOCK)

    def counts(self, shots: int, seed: int | None) -> dict[int, int]:
        """Sample the circuit."""
        if not any(formula.bits for _, formula in self.bits) and not self.errors:
            return {sum(formula.value(0) << place for place, formula in self.bits): shots}
        sampler = self.circuit.compile_sampler(seed=seed)
        generator = np.random.default_rng(seed)
        counts: Counter[int] = Counter()
        # Records in the order of bits, the usual case, are the outcomes already.
        plain = not self.errors and all(
            formula == bit(place) and number == place for place, (number, formula) in enumerate(self.bits)
        )
        plain = plain and len(self.bits) == self.records
        for number in self._blocks(shots):
            if plain:
                packed = sampler.sample(number, bit_packed=True)
            else:
                packed = self._outcomes(sampler.sample(number), generator)
            counts.update(count_rows(packed))
        return dict(counts) if plain else {self._spread(value): number for value, number in counts.items()}

    def _blocks(self, shots: int) -> Iterator[int]:
        for begin in range(0, shots, self.block):
            yield min(self.block, shots - begin)

    def _outcomes(self, records: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.uint8]:
        """Return packed outcomes, one bit for each of `bits`."""
        values: NDArray[np.bool_] = np.empty((len(records), len(self.bits)), dtype=np.bool_)
        for place, (_, formula) in enumerate(self.bits):
            value = records[:, sorted(formula.bits)]
            flipped = bool(formula.value(0))
            values[:, place] = (value[:, 0] if value.shape[1] == 1 else value.sum(axis=1) % 2 == 1) ^ flipped
        for place, one_given_zero, zero_given_one in self.errors:
            chances = np.where(values[:, place], zero_given_one, one_given_zero)
            values[:, place] ^= generator.random(len(records)) < chances
        return np.packbits(values, axis=1, bitorder="little")

    def _spread(self, value: int) -> int:
        """Return the outcome whose bits are those of `value`, in the order of `bits`."""
        outcome, place = 0, 0
        while value:
            zeros = (value & -value).bit_length() - 1
            place += zeros
            outcome |= 1 << self.bits[place][0]
            value >>= zeros + 1
            place += 1
        return outcome


def sampled_circuit(circuit: Circuit, device: str) -> SampledCircuit:
    """Convert a circuit.

    Raises:
        DeviceError: an operation that the device does not have, by name.
        NotSampled: it must be run shot by shot.
    """
    quantum = circuit.quantum
    compiler = _Compiler(StimText(device, circuit.lines))
    compiler.block(quantum, range(quantum.num_qubits), range(quantum.num_clbits), None)
    return compiler.result()


class _Compiler:
    def __init__(self, text: StimText) -> None:
        self._text = text
        self._records = 0
        #: The bits' values as parities of records.
        self._values: dict[int, Formula] = {}
        #: Asymmetric readout errors of bits since they were written; nothing may read these bits.
        self._errors: dict[int, list[tuple[float, float]]] = {}

    def result(self) -> SampledCircuit:
        bits = [
            (place, value) for place, value in sorted(self._values.items()) if value != FALSE or place in self._errors
        ]
        errors = [(k, *error) for k, (place, _) in enumerate(bits) for error in self._errors.get(place, ())]
        return SampledCircuit(stim.Circuit(self._text.take()), bits, errors, self._records)

    def block(
        self, block: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int], condition: Formula | None
    ) -> None:
        qubit_at = {qubit: qubits[place] for place, qubit in enumerate(block.qubits)}
        bit_at = {clbit: clbits[place] for place, clbit in enumerate(block.clbits)}
        for instruction in block.data:
            operation = instruction.operation
            name = operation.name
            if name in ("barrier", "delay"):
                continue
            places = [qubit_at[qubit] for qubit in instruction.qubits]
            own = [bit_at[clbit] for clbit in instruction.clbits]
            if condition is not None:
                self._conditional(operation, places, condition)
            elif name == "measure":
                self._text.add("M", str(places[0]))
                self._write(own[0], bit(self._records))
                self._records += 1
            elif name == "reset":
                self._text.add("R", str(places[0]))
            elif isinstance(operation, ReadoutError):
                self._readout_error(own[0], operation.prob_1_given_0, operation.prob_0_given_1)
            elif isinstance(operation, Channel):
                self._text.channel(operation, places)
            elif isinstance(operation, IfElseOp) and len(operation.blocks) == 1:
                self._branch(operation, places, own, bit_at)
            elif name == "store" and isinstance(operation, Store) and isinstance(operation.lvalue, expr.Var):
                (value,) = bits_of_expression(operation.rvalue, lambda clbit: self._read(bit_at[clbit]))
                self._write(bit_at[operation.lvalue.var], _linear(value))
            elif isinstance(operation, WhileLoopOp) or own:
                raise NotSampled
            else:
                self._text.gate(operation, places)

    def _branch(
        self, operation: IfElseOp, places: Sequence[int], own: Sequence[int], bit_at: Mapping[Clbit, int]
    ) -> None:
        found = _linear(condition_formula(operation.condition, lambda clbit: self._read(bit_at[clbit])))
        if found.bits:
            self.block(operation.blocks[0], places, own, found)
        elif found.value(0):
            self.block(operation.blocks[0], places, own, None)

    def _conditional(self, operation: Instruction, places: Sequence[int], condition: Formula) -> None:
        """Add a gate that acts where a parity of records is 1: one controlled gate for each of these records."""
        if operation.name in ("measure", "reset", "store") or hasattr(operation, "blocks"):
            raise NotSampled
        if operation.num_clbits or isinstance(operation, Channel):
            raise NotSampled
        steps = self._text.steps(operation, places)
        if any(name not in ("x", "y", "z") for name, _ in steps):
            raise NotSampled
        for name, target in steps:
            if condition.value(0):
                self._text.add(name.upper(), target)
            for record in sorted(condition.bits):
                self._text.add(f"C{name.upper()}", f"rec[{record - self._records}] {target}")

    def _readout_error(self, place: int, one_given_zero: float, zero_given_one: float) -> None:
        if one_given_zero == zero_given_one and place not in self._errors:
            # A record of its own that is 1 with this probability.
            self._text.add(f"MPAD({one_given_zero!r})", "0")
            self._values[place] = parity((self._read(place), bit(self._records)))
            self._records += 1
        else:
            self._values.setdefault(place, FALSE)
            self._errors.setdefault(place, []).append((one_given_zero, zero_given_one))

    def _read(self, place: int) -> Formula:
        if place in self._errors:
            raise NotSampled
        return self._values.get(place, FALSE)

    def _write(self, place: int, value: Formula) -> None:
        self._values[place] = value
        self._errors.pop(place, None)


def _linear(formula: Formula) -> Formula:
    """Return a formula that is a parity of bits, or its negation."""
    inner = formula.parts[0] if formula.kind == "not" else formula
    terms = inner.parts if inner.kind == "xor" else (inner,)
    if any(term.kind not in ("bit", "constant") for term in terms):
        raise NotSampled
    return formula
