# SPDX-License-Identifier: Apache-2.0
"""Final measurements with readout errors: from what qubits give to what the program's bits are recorded as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.ir.noise import ReadoutError, record
from qonduit_server.providers.simulation.sampling import as_mapping, draw

if TYPE_CHECKING:
    from qiskit.circuit import Instruction, QuantumCircuit

#: Up to this many recorded bits their distribution is computed; beyond, each shot's bits are changed.
_DENSE_BITS: Final = 14
#: Shots whose bits are changed at a time.
_CHUNK: Final = 1 << 16


@dataclass
class FinalReadout:
    """Where a circuit's classical bits come from, if all of its measurements stand at the end.

    Args:
        operations: what comes before, each with its qubits: gates, channels and resets.
        sources: the measured qubit of each classical bit that is recorded.
        errors: the readout errors of classical bits, in order.
    """

    operations: list[tuple[Instruction, tuple[int, ...]]] = field(default_factory=list)
    sources: dict[int, int] = field(default_factory=dict)
    errors: dict[int, list[ReadoutError]] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[int, ...]:
        """The measured qubits, ascending; bit j of a sample is what the j-th gives."""
        return tuple(sorted(set(self.sources.values())))

    def distribution(self, probabilities: NDArray[np.float64], most_bits: int) -> dict[int, float] | None:
        """Return the probabilities of outcomes; None where more than `most_bits` bits are recorded.

        Args:
            probabilities: of the samples of `measured`.
            most_bits: how many bits may be recorded.
        """
        bits = self._bits()
        if len(bits) > most_bits:
            return None
        return self._spread(as_mapping(self._dense(probabilities, bits)), bits)

    def draw(self, probabilities: NDArray[np.float64], shots: int, generator: np.random.Generator) -> Mapping[int, int]:
        """Sample outcomes; see `distribution`."""
        bits = self._bits()
        if len(bits) <= _DENSE_BITS:
            return self._spread(draw(self._dense(probabilities, bits), shots, generator), bits)
        return self.recorded(draw(probabilities, shots, generator), generator)

    def recorded(self, samples: Mapping[int, int], generator: np.random.Generator) -> Mapping[int, int]:
        """Return outcomes for samples of `measured`, with random errors of their own for each shot."""
        place = {qubit: number for number, qubit in enumerate(self.measured)}
        bits = self._bits()
        found: dict[int, int] = {}
        for sample, number in samples.items():
            outcome = sum(
                (sample >> place[self.sources[bit]] & 1) << k for k, bit in enumerate(bits) if bit in self.sources
            )
            found[outcome] = found.get(outcome, 0) + number
        errors = {k: self.errors[bit] for k, bit in enumerate(bits) if self.errors.get(bit)}
        return self._spread(with_errors(found, errors, len(bits), generator), bits)

    def _bits(self) -> list[int]:
        return sorted({*self.sources, *(bit for bit, errors in self.errors.items() if errors)})

    def _dense(self, probabilities: NDArray[np.float64], bits: Sequence[int]) -> NDArray[np.float64]:
        """Return the distribution of the recorded bits: bit k of a place is `bits[k]`."""
        place = {qubit: number for number, qubit in enumerate(self.measured)}
        samples = np.arange(len(probabilities))
        outcomes: NDArray[np.int64] = np.zeros(len(probabilities), dtype=np.int64)
        for k, bit in enumerate(bits):
            if bit in self.sources:
                outcomes |= (samples >> place[self.sources[bit]] & 1) << k
        found = np.zeros(1 << len(bits))
        np.add.at(found, outcomes, probabilities)
        for k, bit in enumerate(bits):
            for error in self.errors.get(bit, ()):
                record(found, k, error)
        return found

    @staticmethod
    def _spread(found: Mapping[int, Any], bits: Sequence[int]) -> dict[int, Any]:
        """Return outcomes of all classical bits for those of the recorded ones."""
        if list(bits) == list(range(len(bits))):
            return dict(found)
        return {sum((outcome >> k & 1) << bit for k, bit in enumerate(bits)): n for outcome, n in found.items()}


def final_readout(quantum: QuantumCircuit) -> FinalReadout | None:
    """Return a circuit as operations and final measurements; None where something follows on a measurement."""
    final = FinalReadout()
    measured: set[int] = set()
    find = quantum.find_bit
    for instruction in quantum.data:
        operation = instruction.operation
        name = operation.name
        if name in ("barrier", "delay"):
            continue
        if hasattr(operation, "blocks") or name == "store":
            return None
        places = tuple([find(qubit).index for qubit in instruction.qubits])
        if name == "measure":
            bit = find(instruction.clbits[0]).index
            final.sources[bit] = places[0]
            final.errors.pop(bit, None)
            measured.add(places[0])
        elif isinstance(operation, ReadoutError):
            final.errors.setdefault(find(instruction.clbits[0]).index, []).append(operation)
        elif measured.isdisjoint(places):
            final.operations.append((operation, places))
        else:
            return None
    return final


def with_errors(
    counts: Mapping[int, int], errors: Mapping[int, Sequence[ReadoutError]], bits: int, generator: np.random.Generator
) -> Mapping[int, int]:
    """Return counts in which each bit of each shot was recorded with its errors.

    Args:
        counts: by outcome.
        errors: of bits, in order.
        bits: how many an outcome has.
        generator: of random numbers.
    """
    if not errors:
        return counts
    found: dict[int, int] = {}
    width = (bits + 7) // 8
    outcomes = np.frombuffer(b"".join(each.to_bytes(width, "little") for each in counts), dtype=np.uint8)
    outcomes = outcomes.reshape(len(counts), width)
    ends = np.cumsum(list(counts.values()))
    for start in range(0, int(ends[-1]), _CHUNK):
        number = min(_CHUNK, int(ends[-1]) - start)
        rows = np.searchsorted(ends, np.arange(start, start + number), side="right")
        shots = np.unpackbits(outcomes[rows], axis=1, bitorder="little")
        for bit, each in sorted(errors.items()):
            for error in each:
                wrong = np.where(shots[:, bit], error.prob_0_given_1, error.prob_1_given_0)
                shots[:, bit] ^= generator.random(number) < wrong
        keys, numbers = np.unique(np.packbits(shots, axis=1, bitorder="little"), axis=0, return_counts=True)
        for key, times in zip(keys, numbers.tolist(), strict=True):
            outcome = int.from_bytes(key.tobytes(), "little")
            found[outcome] = found.get(outcome, 0) + times
    return found
