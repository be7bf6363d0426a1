# SPDX-License-Identifier: Apache-2.0
"""Branching simulation: runs circuits step by step, with shots grouped by their measured values.

For simulators without measurement, reset, conditions or loops within a circuit. A group is a number of shots with their
measured values and their common state. The SDK's engine evolves a group's state from one measurement to the next, where
a draw from the exact probabilities splits the group. The counts have the same distribution as independent shots, there
are never more groups than shots, and no helper qubits are needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qonduit_server.errors import LimitError
from qonduit_server.ir.circuit import Outcome
from qonduit_server.ir.lowering import Lowering
from qonduit_server.providers.sampling import born_probabilities, draw
from qonduit_server.providers.steps import ApplyUnitary, Assign, Collapse, Gate, Jump, JumpIfNot, Step, steps_of

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

#: Maximum number of loop iterations in one shot.
MAX_ROUNDS: Final = 10_000
#: The name of the method in a result's meta data.
METHOD: Final = "statevector, branching on measurements"
#: complex128: a state, two more while gates are applied or it is split, and the states of waiting groups. Measured with
#: 2^21 amplitudes: 96 in Braket's engine, 80 in Cirq's.
BYTES_PER_AMPLITUDE: Final = 104
#: Maximum number of additional waiting states: each split leaves at most half of the shots, so log2(shots) splits wait.
MOST_SPARE_STATES: Final = 16
#: Up to this many qubits, the engine merges each run of gates into one matrix if all matrices fit `_MATRICES_BYTES`.
#: With more qubits a matrix costs more than its gates.
_MATRIX_QUBITS: Final = 5
_MATRICES_BYTES: Final = 16 * 1024**2

#: One axis of length 2 for each qubit, in order. Gates ignore further axes.
State: TypeAlias = NDArray[np.complex128]


class Engine(Protocol):
    """Applies gates with an SDK."""

    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Convert runs of gates to the SDK's form."""

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Apply a run to a state, which may be overwritten."""


@dataclass
class Branching:
    """A circuit as steps. `runs` are its gates in the SDK's form; qubits that no gate acts on are omitted."""

    device: str
    steps: Sequence[Step]
    runs: Sequence[Any]
    qubits: int
    #: Bytes for states of waiting groups beyond `BYTES_PER_AMPLITUDE`; states that exceed it are recomputed.
    spare_bytes: int = 0
    #: The qubits of each gate of each run.
    places: Sequence[Sequence[Sequence[int]]] = ()

    def operations(self) -> Iterator[Sequence[int] | None]:
        """Yield the qubits of each operation, as `CompiledCircuit.operations` does."""
        for step in self.steps:
            match step:
                case ApplyUnitary():
                    yield from self.places[step.run]
                case Collapse():
                    yield from ((qubit,) for qubit in step.qubits)
                case JumpIfNot() | Jump():
                    yield None


def branching(quantum: QuantumCircuit, lowering: Lowering, device: str, engine: Engine) -> Branching:
    """Convert a circuit to steps and lower its gates; for the arguments see `steps_of`.

    Raises:
        DeviceError: an operation that the device does not have, by name.
    """
    found = steps_of(quantum, lowering, device)
    places = [[qubits for _, qubits in run] for run in found.runs]
    return Branching(device, found.steps, engine.lower(found.runs, found.qubits), found.qubits, places=places)


#: The measured outcomes of a group, latest first; None: nothing measured yet.
_Path: TypeAlias = "tuple[int, _Path] | None"


@dataclass
class _Group:
    """Shots with equal measured values. `part` is their state after the measurement; None: to be recomputed."""

    shots: int
    place: int = 0
    bits: int = 0
    rounds: int = 0
    path: _Path = None
    part: NDArray[np.complex128] | None = None


def run(
    program: Branching, engine: Engine, shots: int, seed: int | None, meta_data: Mapping[str, object]
) -> Outcome | LimitError:
    """Run a compiled circuit; return a LimitError with reason LOOP_LIMIT if a shot exceeds the loop limit."""
    began = time.perf_counter()
    walk = _Walk(program, engine, shots, np.random.default_rng(seed))
    try:
        walk.walk()
    except LimitError as error:
        return error
    meta: dict[str, object] = {
        **meta_data,
        "method": METHOD,
        "run_seconds": time.perf_counter() - began,
        "qubits": program.qubits,
        "helper_qubits": 0,
        "branches": walk.groups,
    }
    if seed is not None:
        meta["seed"] = seed
    return Outcome(walk.counts, meta)


class _Walk:
    """Runs one group after another to the end, the smallest first, so that at most log2(shots) splits wait."""

    def __init__(self, program: Branching, engine: Engine, shots: int, generator: np.random.Generator) -> None:
        self._program = program
        self._engine = engine
        self._generator = generator
        self._waiting = [_Group(shots)]
        self._waiting_bytes = 0
        self.counts: dict[int, int] = {}
        self.groups = 0
        self._use_matrices = (
            program.qubits <= _MATRIX_QUBITS and len(program.runs) << 2 * program.qubits + 4 <= _MATRICES_BYTES
        )
        self._matrices: dict[int, State] = {}

    def walk(self) -> None:
        steps = self._program.steps
        while self._waiting:
            group = self._waiting.pop()
            state = self._resume(group)
            while True:
                state = self._advance(group, state)
                if group.place == len(steps):
                    self._end(group.bits, group.shots)
                    break
                collapse = steps[group.place]
                assert isinstance(collapse, Collapse)
                front = self._front(state, collapse)
                drawn = draw(_probabilities(front), group.shots, self._generator)
                if group.place + 1 == len(steps):
                    for outcome, number in drawn.items():
                        self._end(collapse.write(group.bits, outcome), number)
                    break
                group = self._split(group, collapse, front, drawn)
                assert group.part is not None
                state = self._whole(group.part, collapse, group.path)

    def _end(self, bits: int, shots: int) -> None:
        self.counts[bits] = self.counts.get(bits, 0) + shots
        self.groups += 1

    def _split(self, group: _Group, collapse: Collapse, front: State, drawn: dict[int, int]) -> _Group:
        """Split a group by outcome; return the smallest group and queue the others."""
        parts: list[_Group] = []
        alike: dict[int, list[_Group]] = {}
        for outcome, number in drawn.items():
            part = front[outcome] / np.linalg.norm(front[outcome])
            bits = collapse.write(group.bits, outcome)
            others = alike.setdefault(bits, [])
            # A reset of a qubit that was not entangled leaves the same state for both outcomes.
            same = next((each for each in others if abs(np.vdot(each.part, part)) > 1 - 1e-13), None)
            if same is not None:
                same.shots += number
                continue
            others.append(_Group(number, group.place + 1, bits, group.rounds, (outcome, group.path), part))
            parts.append(others[-1])
        parts.sort(key=lambda each: -each.shots)
        for each in parts[:-1]:
            assert each.part is not None
            if self._waiting_bytes + each.part.nbytes > (16 << self._program.qubits) + self._program.spare_bytes:
                each.part = None
            else:
                self._waiting_bytes += each.part.nbytes
            self._waiting.append(each)
        return parts[-1]

    def _resume(self, group: _Group) -> State:
        """Return the state of a waiting group."""
        if group.path is None:
            return self._zero()
        if group.part is not None:
            collapse = self._program.steps[group.place - 1]
            assert isinstance(collapse, Collapse)
            self._waiting_bytes -= group.part.nbytes
            return self._whole(group.part, collapse, group.path)
        outcomes: list[int] = []
        path: _Path = group.path
        while path is not None:
            outcomes.append(path[0])
            path = path[1]
        replay, state = _Group(group.shots), self._zero()
        for outcome in reversed(outcomes):
            state = self._advance(replay, state)
            collapse = self._program.steps[replay.place]
            assert isinstance(collapse, Collapse)
            part = self._front(state, collapse)[outcome]
            state = self._whole(part / np.linalg.norm(part), collapse, (outcome, None))
            replay.bits, replay.place = collapse.write(replay.bits, outcome), replay.place + 1
        return state

    def _advance(self, group: _Group, state: State) -> State:
        """Run a group to its next measurement or to the end."""
        steps = self._program.steps
        place, bits = group.place, group.bits
        while place < len(steps):
            step = steps[place]
            place += 1
            match step:
                case ApplyUnitary():
                    state = self._evolve(state, step.run)
                case Collapse():
                    place -= 1
                    break
                case Assign():
                    bits = bits & ~(1 << step.clbit) | step.value.value(bits) << step.clbit
                case JumpIfNot():
                    if not step.condition.value(bits):
                        place = step.target
                case Jump():
                    place = step.target
                    group.rounds += 1
                    if group.rounds > MAX_ROUNDS:
                        raise LimitError(
                            "LOOP_LIMIT",
                            f"a loop that ends by a measurement exceeds {MAX_ROUNDS} iterations in one shot on "
                            f"{self._program.device}: "
                            "end it by a measurement that is likely to succeed, or count its iterations",
                        )
        group.place, group.bits = place, bits
        return state

    def _evolve(self, state: State, run: int) -> State:
        program, qubits = self._program, self._program.qubits
        matrix = self._matrices.get(run)
        if matrix is None:
            if not self._use_matrices:
                return self._engine.evolve(state, program.runs[run], qubits)
            size = 1 << qubits
            unit: State = np.eye(size, dtype=np.complex128).reshape((2,) * (2 * qubits))
            matrix = self._engine.evolve(unit, program.runs[run], qubits).reshape(size, size)
            self._matrices[run] = matrix
        return (matrix @ state.reshape(-1)).reshape(state.shape)

    def _zero(self) -> State:
        state: State = np.zeros((2,) * self._program.qubits, dtype=np.complex128)
        state[(0,) * self._program.qubits] = 1.0
        return state

    def _front(self, state: State, collapse: Collapse) -> State:
        """Return the state with a row for each outcome, whose highest bit is the first qubit's."""
        measured = collapse.qubits
        order = [*measured, *(qubit for qubit in range(state.ndim) if qubit not in measured)]
        return state.transpose(order).reshape(1 << len(measured), -1)

    def _whole(self, part: NDArray[np.complex128], collapse: Collapse, path: _Path) -> State:
        """Return the state of all qubits where the measured ones have the last outcome of `path`, or were reset."""
        assert path is not None
        qubits = self._program.qubits
        state: State = np.zeros((2,) * qubits, dtype=np.complex128)
        index: list[int | slice] = [slice(None)] * qubits
        last = len(collapse.qubits) - 1
        for k, qubit in enumerate(collapse.qubits):
            index[qubit] = 0 if qubit in collapse.resets else path[0] >> (last - k) & 1
        state[tuple(index)] = part.reshape((2,) * (qubits - len(collapse.qubits)))
        return state


def _probabilities(front: State) -> NDArray[np.float64]:
    """Return the probability of each row."""
    if len(front) > 64:
        return np.asarray(born_probabilities(front).sum(axis=1))
    return np.array([np.vdot(row, row).real for row in front])
