# SPDX-License-Identifier: Apache-2.0
"""Random Quil programs with jumps of all kinds: their IR agrees with an independent interpreter of the text.

Programs are lists of instructions as tuples. The interpreter executes instruction by instruction, with a density
matrix for each position in the program and each content of its memory.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.quil import quil_reader
from tests.unit.ir import reference_simulator

#: Programs in each of the test's parts.
PROGRAMS = 40
#: Worlds still running below this probability are dropped.
LEAST = 1e-7
#: Programs that drop more than this probability are not compared.
MOST_LOST = 0.01
MOST_STEPS = 5000
QUBITS = 2
BITS = 4

Instruction = tuple[Any, ...]
#: The position in the program, the bits and the counter.
World = tuple[int, tuple[int, ...], int]

_GATES = {
    "H": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "X": np.array([[0, 1], [1, 0]]),
    "RY(0.9)": np.array([[np.cos(0.45), -np.sin(0.45)], [np.sin(0.45), np.cos(0.45)]]),
}


class Writer:
    """Generates a program: structured jumps, and some that leave their block."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._left = 14
        self._labels = 0
        #: Possible jump targets: labels of enclosing loops, and later labels.
        self._open: list[str] = []
        self.code: list[Instruction] = [("gate", "H", qubit) for qubit in range(QUBITS)]
        self.code += [("measure", self._random.randrange(QUBITS), self._bit()) for _ in range(2)]
        self._block(3)
        self._place_loose_labels()

    def text(self) -> str:  # noqa: C901 - one line a kind of statement
        lines = [f"DECLARE b BIT[{BITS}]", "DECLARE n INTEGER", "DECLARE t BIT", "MOVE n 0"]
        for each in self.code:
            match each:
                case ("gate", name, qubit):
                    lines.append(f"{name} {qubit}")
                case ("measure", qubit, bit):
                    lines.append(f"MEASURE {qubit} b[{bit}]")
                case ("reset", qubit):
                    lines.append(f"RESET {qubit}")
                case ("logic", "NOT", bit, _):
                    lines.append(f"NOT b[{bit}]")
                case ("logic", name, bit, other):
                    lines.append(f"{name} b[{bit}] b[{other}]")
                case ("move", bit, value):
                    lines.append(f"MOVE b[{bit}] {value}")
                case ("count", value):
                    lines.append(f"MOVE n {value}")
                case ("down",):
                    lines.append("SUB n 1")
                case ("label", name):
                    lines.append(f"LABEL @{name}")
                case ("jump", name, None, _):
                    lines.append(f"JUMP @{name}")
                case ("jump", name, "n", _):
                    lines.append(f"JUMP-WHEN @{name} n")
                case ("jump", name, bit, when):
                    lines.append(f"JUMP-{'WHEN' if when else 'UNLESS'} @{name} b[{bit}]")
                case ("halt",):
                    lines.append("HALT")
        return "\n".join(lines) + "\n"

    def _bit(self) -> int:
        return self._random.randrange(BITS)

    def _label(self, name: str) -> str:
        self._labels += 1
        return f"{name}{self._labels}"

    def _block(self, depth: int) -> None:
        for _ in range(self._random.randint(1, 4)):
            self._statement(depth)

    def _statement(self, depth: int) -> None:
        self._left -= 1
        draw = self._random.random()
        if depth and self._left > 0 and draw < 0.5:
            if draw < 0.25:
                self._if(depth)
            elif draw < 0.3:
                self._counted(depth)
            else:
                self._loop(depth)
        elif draw < 0.62 and self._open:
            self.code.append(("jump", self._random.choice(self._open), self._bit(), self._random.random() < 0.5))
        elif draw < 0.66:
            self.code.append(("jump", self._label("F"), self._bit(), self._random.random() < 0.5))
        elif draw < 0.68:
            end = self._label("E")
            self.code += [("jump", end, self._bit(), True), ("halt",), ("label", end)]
        elif draw < 0.8:
            self.code.append(("gate", self._random.choice(list(_GATES)), self._random.randrange(QUBITS)))
        elif draw < 0.88:
            self.code.append(("measure", self._random.randrange(QUBITS), self._bit()))
        elif draw < 0.9:
            self.code.append(("reset", self._random.randrange(QUBITS)))
        elif draw < 0.96:
            target = self._bit()
            other = self._random.choice([each for each in range(BITS) if each != target])
            self.code.append(("logic", self._random.choice(("AND", "IOR", "XOR", "NOT", "MOVE")), target, other))
        else:
            self.code.append(("move", self._bit(), self._random.randrange(2)))

    def _if(self, depth: int) -> None:
        """Generate a branch as pyQuil writes it (the `else` comes first), or the reverse."""
        end = self._label("E")
        if self._random.random() < 0.5:
            self.code.append(("jump", end, self._bit(), False))
            self._block(depth - 1)
        else:
            then = self._label("T")
            self.code.append(("jump", then, self._bit(), True))
            self._block(depth - 1)
            self.code += [("jump", end, None, True), ("label", then)]
            self._block(depth - 1)
        self.code.append(("label", end))

    def _loop(self, depth: int) -> None:
        """Generate a loop that most likely ends: each round measures the bit that its end reads."""
        start, end = self._label("S"), self._label("E")
        bit, qubit = self._bit(), self._random.randrange(QUBITS)
        toss: list[Instruction] = [("reset", qubit), ("gate", "H", qubit), ("measure", qubit, bit)]
        self.code.append(("label", start))
        draw = self._random.random()
        if draw < 0.6:
            self.code.append(("jump", end, bit, False))
        if draw < 0.2:
            self.code.append(("jump", end, self._bit(), True))
        self._open += [start, end] if draw > 0.4 else [end]
        first = len(self.code)
        self._block(depth - 1)
        for place in range(first, len(self.code)):
            # An early jump back must have measured, too.
            if self.code[place][:2] == ("jump", start):
                self.code[place:place] = toss
                break
        del self._open[-(2 if draw > 0.4 else 1) :]
        self.code += toss
        self.code.append(("jump", start, None, True) if draw < 0.6 else ("jump", start, bit, True))
        self.code.append(("label", end))

    def _counted(self, depth: int) -> None:
        """Generate a loop as Rigetti's `wrap_in_loop` writes it; not within another loop, whose numbers it changes."""
        if self._open:
            return
        start, end = self._label("S"), self._label("E")
        self.code += [("count", self._random.randint(1, 3)), ("label", start)]
        self._open.append(end)
        self._left -= 4
        self._block(min(depth - 1, 1))
        self._open.pop()
        self.code += [("down",), ("jump", start, "n", True), ("label", end)]

    def _place_loose_labels(self) -> None:
        known = {each[1] for each in self.code if each[0] == "label"}
        loose = [(place, each[1]) for place, each in enumerate(self.code) if each[0] == "jump" and each[1] not in known]
        for jump, name in reversed(loose):
            self.code.insert(self._random.randint(jump + 1, len(self.code)), ("label", name))


def distribution(code: list[Instruction]) -> tuple[dict[str, float], float]:
    """Return the probability of each result, and the dropped probability."""
    labels = {each[1]: place for place, each in enumerate(code) if each[0] == "label"}
    state = np.zeros((1 << QUBITS,) * 2, dtype=complex)
    state[0, 0] = 1
    worlds: dict[World, np.ndarray[Any, Any]] = {(0, (0,) * BITS, 0): state}
    found: dict[str, float] = {}
    lost = 0.0
    for _ in range(MOST_STEPS):
        if not worlds:
            break
        world = min(worlds)  # the earliest position first
        place, bits, counter = world
        state = worlds.pop(world)
        weight = float(state.trace().real)
        if weight < LEAST:
            lost += weight
            continue
        if place == len(code):
            # The register t comes last and is never written.
            key = f"0x0 {sum(bit << k for k, bit in enumerate(bits)):#x}"
            found[key] = found.get(key, 0.0) + weight
            continue
        for end, after in _step(code[place], place + 1, bits, counter, state, labels, len(code)):
            worlds[end] = worlds[end] + after if end in worlds else after
    return found, lost + sum(float(each.trace().real) for each in worlds.values())


def _step(
    instruction: Instruction,
    after: int,
    bits: tuple[int, ...],
    counter: int,
    state: np.ndarray[Any, Any],
    labels: dict[str, int],
    last: int,
) -> list[tuple[World, np.ndarray[Any, Any]]]:
    def stored(bit: int, value: int) -> World:
        return after, (*bits[:bit], value, *bits[bit + 1 :]), counter

    match instruction:
        case ("gate", name, qubit):
            matrix = _on(_GATES[name], qubit)
            return [((after, bits, counter), matrix @ state @ matrix.conj().T)]
        case ("measure", qubit, bit):
            ends = [(_on(np.diag([1 - seen, seen]), qubit), seen) for seen in range(2)]
            return [(stored(bit, seen), matrix @ state @ matrix) for matrix, seen in ends]
        case ("reset", qubit):
            matrices = (_on(np.diag([1, 0]), qubit), _on(np.array([[0, 1], [0, 0]]), qubit))
            return [((after, bits, counter), sum(matrix @ state @ matrix.T for matrix in matrices))]
        case ("logic", name, bit, other):
            left, right = bits[bit], bits[other]
            values = {"AND": left & right, "IOR": left | right, "XOR": left ^ right, "NOT": 1 - left, "MOVE": right}
            return [(stored(bit, values[name]), state)]
        case ("move", bit, value):
            return [(stored(bit, value), state)]
        case ("count", value):
            return [((after, bits, value), state)]
        case ("down",):
            return [((after, bits, counter - 1), state)]
        case ("jump", name, bit, when):
            taken = bit is None or (counter != 0 if bit == "n" else bits[bit] == when)
            return [((labels[name] if taken else after, bits, counter), state)]
        case ("halt",):
            return [((last, bits, counter), state)]
    return [((after, bits, counter), state)]


def _on(matrix: np.ndarray[Any, Any], qubit: int) -> np.ndarray[Any, Any]:
    return np.kron(np.kron(np.eye(1 << qubit), matrix), np.eye(1 << (QUBITS - qubit - 1)))


def read(text: str) -> Circuit | None:
    """Return the circuit read; None for a jump into a loop, and for a loop that cannot be unrolled."""
    try:
        return quil_reader.read(text)
    except ProgramError as error:
        if "leads into the loop" not in error.message and error.reason != "TOO_LARGE":
            raise
        return None


@pytest.mark.parametrize("part", range(4))
def test_programs_are_read_with_their_meaning(part: int) -> None:
    compared = 0
    for seed in range(part * PROGRAMS, (part + 1) * PROGRAMS):
        writer = Writer(seed)
        circuit = read(writer.text())
        if circuit is None:
            continue
        wanted, lost = distribution(writer.code)
        if lost > MOST_LOST:
            continue
        assert reference_simulator.close(reference_simulator.distribution(circuit), wanted, 1e-5 + lost), (
            seed,
            writer.text(),
        )
        compared += 1
    assert compared > 0.7 * PROGRAMS
