# SPDX-License-Identifier: Apache-2.0
"""Branching simulation: runs circuits step by step, with shots grouped by their measured values.

For simulators that have no measurement, reset, conditions or loops within a circuit. A group is a number of shots, what
they recorded so far, and the state that all of them are in. The SDK's engine takes a group's state from one draw to the
next; there the group is split by a draw from the exact probabilities: at measurements, readout errors and, where states
are vectors, channels. So the counts have the distribution that running each shot alone would give them, there are never
more groups than shots, and no helper qubits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from qonduit_server.errors import LimitError
from qonduit_server.ir.circuit import Outcome
from qonduit_server.ir.lowering import Lowering
from qonduit_server.providers.provider import RunProgress
from qonduit_server.providers.simulation.group_states import (
    VECTORS,
    State,
    StateKind,
    apply_kraus,
    channel_probabilities,
    whole,
    zero,
)
from qonduit_server.providers.simulation.sampling import draw
from qonduit_server.providers.simulation.steps import (
    ApplyChannel,
    ApplyUnitary,
    Assign,
    Collapse,
    FlipBit,
    Gate,
    Jump,
    JumpIfNot,
    Step,
    steps_of,
)

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
#: Progress is reported this often, in seconds.
_PROGRESS_SECONDS: Final = 0.3


#: Steps at which the shots of a group part by a draw.
_Draw: TypeAlias = Collapse | ApplyChannel | FlipBit


class Engine(Protocol):
    """Applies gates with an SDK."""

    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Convert runs of gates to the SDK's form."""

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Apply one of them. The state that was given may be overwritten.

        A vector may have more axes behind those of the qubits, which gates leave alone.
        """


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
    kind: StateKind = VECTORS
    engine: Any = None
    #: The name of the method in a result's meta data.
    method: str = METHOD

    @cached_property
    def tail(self) -> int:
        """From this step on only bits change."""
        place = len(self.steps)
        targets = {step.target for step in self.steps if isinstance(step, JumpIfNot | Jump)}
        while place and isinstance(self.steps[place - 1], Assign | FlipBit) and place not in targets:
            place -= 1
        return place

    def operations(self) -> Iterator[Sequence[int] | None]:
        """Yield the qubits of each operation, as `CompiledCircuit.operations` does."""
        for step in self.steps:
            match step:
                case ApplyUnitary():
                    yield from self.places[step.run]
                case ApplyChannel():
                    yield step.qubits
                case Collapse():
                    yield from ((qubit,) for qubit in step.qubits)
                case JumpIfNot() | Jump():
                    yield None


def branching(
    quantum: QuantumCircuit,
    lowering: Lowering,
    device: str,
    engine: Engine,
    kind: StateKind = VECTORS,
    method: str = METHOD,
) -> Branching:
    """Bring a circuit into steps and lower its gates; for the arguments see `steps_of`.

    Raises:
        DeviceError: an operation that the device does not have, by name.
    """
    found = steps_of(quantum, lowering, device, mixed=kind.axes > 1)
    places = [[qubits for _, qubits in run] for run in found.runs]
    runs = engine.lower(found.runs, found.qubits)
    return Branching(device, found.steps, runs, found.qubits, places=places, kind=kind, engine=engine, method=method)


#: The draws that led to a group, latest first; None: no draw yet.
_Path: TypeAlias = "tuple[int, _Path] | None"


@dataclass
class _Group:
    """Shots that drew the same. `part` is what the last draw left of their state; None: to be computed again."""

    shots: int
    place: int = 0
    bits: int = 0
    rounds: int = 0
    path: _Path = None
    part: State | None = None


def run(
    program: Branching, engine: Engine, shots: int, seed: int | None, meta_data: Mapping[str, object]
) -> Iterator[RunProgress | Outcome | LimitError]:
    """Run a compiled circuit; a LimitError with reason LOOP_LIMIT if a shot goes round in loops too often."""
    began = time.perf_counter()
    walk = _Walk(program, engine, shots, np.random.default_rng(seed))
    try:
        yield from walk.walk()
    except LimitError as error:
        yield error
        return
    meta: dict[str, object] = {
        **meta_data,
        "method": program.method,
        "run_seconds": time.perf_counter() - began,
        "qubits": program.qubits,
        "helper_qubits": 0,
        "branches": walk.groups,
    }
    if seed is not None:
        meta["seed"] = seed
    yield Outcome(walk.counts, meta)


class _Walk:
    """Runs one group after another to the end, the smallest first, so that at most log2(shots) splits wait."""

    def __init__(self, program: Branching, engine: Engine, shots: int, generator: np.random.Generator) -> None:
        self._program = program
        self._kind = program.kind
        self._engine = engine
        self._generator = generator
        self._shots = shots
        self._ended = 0
        self._waiting = [_Group(shots)]
        self._waiting_bytes = 0
        self._state_bytes = 16 << program.kind.axes * program.qubits
        self.counts: dict[int, int] = {}
        self.groups = 0
        self._use_matrices = (
            program.kind is VECTORS
            and program.qubits <= _MATRIX_QUBITS
            and len(program.runs) << 2 * program.qubits + 4 <= _MATRICES_BYTES
        )
        self._matrices: dict[int, State] = {}

    def walk(self) -> Iterator[RunProgress]:
        """Take all groups to the end. The clock decides how often progress is reported, and nothing else."""
        reported = time.monotonic()
        while self._waiting:
            self._finish(self._waiting.pop())
            now = time.monotonic()
            if self._waiting and now >= reported + _PROGRESS_SECONDS:
                reported = now
                yield RunProgress(self._ended / self._shots, lambda: self.counts)

    def _finish(self, group: _Group) -> None:
        """Run the smallest part of a group to the end; the other parts wait."""
        steps = self._program.steps
        state = self._resume(group)
        while True:
            state = self._advance(group, state)
            if group.place >= self._program.tail:
                self._end(group.place, {group.bits: group.shots})
                return
            step = steps[group.place]
            match step:
                case Collapse():
                    split = self._kind.split(state, step.qubits)
                    drawn = draw(self._kind.probabilities(split), group.shots, self._generator)
                    if group.place + 1 >= self._program.tail:
                        self._end(group.place + 1, _added((step.write(group.bits, k), n) for k, n in drawn.items()))
                        return
                case ApplyChannel():
                    split = state
                    drawn = draw(channel_probabilities(state, step.channel, step.qubits), group.shots, self._generator)
                case FlipBit():
                    split = state
                    drawn = self._flips(step, group.bits, group.shots)
                case _:
                    raise AssertionError(step)
            group = self._split(group, step, split, drawn)
            assert group.part is not None
            state = self._whole(group.part, step, group.path)

    def _flips(self, step: FlipBit, bits: int, shots: int) -> dict[int, int]:
        """Draw for how many shots a bit is recorded rightly (0) and wrongly (1)."""
        wrong = int(self._generator.binomial(shots, step.probability(bits)))
        return {flipped: number for flipped, number in ((0, shots - wrong), (1, wrong)) if number}

    def _end(self, place: int, counts: dict[int, int]) -> None:
        """Count shots that reached the steps that change bits only."""
        self.groups += len(counts)
        self._ended += sum(counts.values())
        for step in self._program.steps[place:]:
            if isinstance(step, FlipBit):
                counts = _added(
                    (bits ^ flipped << step.clbit, number)
                    for bits, shots in counts.items()
                    for flipped, number in self._flips(step, bits, shots).items()
                )
            else:
                assert isinstance(step, Assign)
                counts = _added((step.write(bits), shots) for bits, shots in counts.items())
        for bits, shots in counts.items():
            self.counts[bits] = self.counts.get(bits, 0) + shots

    def _split(self, group: _Group, step: _Draw, split: State, drawn: dict[int, int]) -> _Group:
        """Make a group of each outcome; all but the smallest wait."""
        parts: list[_Group] = []
        alike: dict[int, list[_Group]] = {}
        for outcome, number in drawn.items():
            part = self._part(step, split, outcome, kept=len(drawn) > 1)
            bits = _recorded(step, group.bits, outcome)
            others = alike.setdefault(bits, [])
            # A reset leaves one and the same state where the qubit was not entangled with others, and so do
            # Pauli errors that the state is an eigenvector of.
            same = next((each for each in others if each.part is not None and self._kind.same(each.part, part)), None)
            if same is not None:
                same.shots += number
                continue
            others.append(_Group(number, group.place + 1, bits, group.rounds, (outcome, group.path), part))
            parts.append(others[-1])
        parts.sort(key=lambda each: -each.shots)
        for each in parts[:-1]:
            assert each.part is not None
            if self._waiting_bytes + each.part.nbytes > self._state_bytes + self._program.spare_bytes:
                each.part = None
            else:
                self._waiting_bytes += each.part.nbytes
            self._waiting.append(each)
        return parts[-1]

    def _part(self, step: _Draw, split: State, outcome: int, kept: bool) -> State:
        """Return what an outcome leaves of a state; a copy of its own if the state is kept for others."""
        match step:
            case Collapse():
                return self._kind.part(split, outcome)
            case ApplyChannel():
                return apply_kraus(split, step.channel.kraus[outcome], step.qubits)
            case FlipBit():
                return split.copy() if kept else split

    def _resume(self, group: _Group) -> State:
        """Return the state of a waiting group."""
        if group.path is None:
            return zero(self._kind, self._program.qubits)
        if group.part is not None:
            self._waiting_bytes -= group.part.nbytes
            return self._whole(group.part, self._draw_at(group.place - 1), group.path)
        outcomes: list[int] = []
        path: _Path = group.path
        while path is not None:
            outcomes.append(path[0])
            path = path[1]
        again, state = _Group(group.shots), zero(self._kind, self._program.qubits)
        for outcome in reversed(outcomes):
            state = self._advance(again, state)
            step = self._draw_at(again.place)
            split = self._kind.split(state, step.qubits) if isinstance(step, Collapse) else state
            state = self._whole(self._part(step, split, outcome, kept=False), step, (outcome, None))
            again.bits, again.place = _recorded(step, again.bits, outcome), again.place + 1
        return state

    def _draw_at(self, place: int) -> _Draw:
        step = self._program.steps[place]
        assert isinstance(step, Collapse | ApplyChannel | FlipBit)
        return step

    def _advance(self, group: _Group, state: State) -> State:
        """Take a group to its next draw, or to the steps that change bits only."""
        steps, tail = self._program.steps, self._program.tail
        place, bits = group.place, group.bits
        while place < tail:
            step = steps[place]
            place += 1
            match step:
                case ApplyUnitary():
                    state = self._evolve(state, step.run)
                case Collapse() | ApplyChannel() | FlipBit():
                    place -= 1
                    break
                case Assign():
                    bits = step.write(bits)
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

    def _whole(self, part: State, step: _Draw, path: _Path) -> State:
        """Return the state of all qubits after the last outcome of `path`."""
        assert path is not None
        if not isinstance(step, Collapse):
            return part
        last = len(step.qubits) - 1
        values = [0 if qubit in step.resets else path[0] >> (last - k) & 1 for k, qubit in enumerate(step.qubits)]
        return whole(self._kind, part, self._program.qubits, step.qubits, values)


def _recorded(step: _Draw, bits: int, outcome: int) -> int:
    """Return the classical bits after the draw of a step."""
    match step:
        case Collapse():
            return step.write(bits, outcome)
        case FlipBit():
            return bits ^ outcome << step.clbit
        case ApplyChannel():
            return bits


def _added(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return pairs as a mapping; the numbers of equal keys are added up."""
    found: dict[int, int] = {}
    for key, number in pairs:
        found[key] = found.get(key, 0) + number
    return found
