# SPDX-License-Identifier: Apache-2.0
"""Random OpenQASM 3 programs that measure, branch and loop keep their meaning when read and written.

Programs are trees of tuples. Their expected distribution is computed from the tree, with a density matrix for each
assignment of the variables; another interpreter computes that of the IR read from their text.
"""

from __future__ import annotations

import functools
import itertools
import operator
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.classical import flow, guards
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.languages.writing import qasm3_writer
from tests.unit.ir import reference_simulator

#: Programs in each of the test's parts.
PROGRAMS = 30
#: Rounds of a loop after which the remaining probability is dropped.
ROUNDS = 20
#: Assignments below this probability are dropped there.
LEAST = 3e-4
#: Programs that drop more than this probability are not compared.
MOST_LOST = 0.03

#: Type and size of a program's integers, if it has any.
INTEGERS = {"m": ("uint", 10), "n": ("int", 16)}

Tree = tuple[Any, ...]
#: The density matrix for each assignment of all variables (its trace is the probability).
Worlds = dict[tuple[int, ...], np.ndarray[Any, Any]]

_ONE_QUBIT = {
    "h": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "x": np.array([[0, 1], [1, 0]]),
    "ry(0.9)": np.array([[np.cos(0.45), -np.sin(0.45)], [np.sin(0.45), np.cos(0.45)]]),
    "s": np.diag([1, 1j]),
}


_ON_INTEGERS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "%": operator.mod,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Program:
    """A program's tree: qubits, registers (name to size, 0 for a single bit), integers and statements."""

    def __init__(self, seed: int, integers: bool = False) -> None:
        self._random = random.Random(seed)
        self.integers = INTEGERS if integers else {}
        self.qubits = self._random.choice((1, 2, 2, 3))
        sizes = self._random.choice(((2,), (2, 0), (0, 0), (2, 2), (3, 0), (2, 0, 0), (0, 0, 0)))
        self.registers = {"abcd"[k]: size for k, size in enumerate(sizes)}
        #: Bits declared in blocks.
        self.local: list[str] = []
        self._left = 12
        # Compile-time constants are the smaller source of errors.
        begin: list[Tree] = [("gate", "h", (qubit,)) for qubit in range(self.qubits)]
        begin += [("measure", self._random.randrange(self.qubits), self._bit(())) for _ in range(3)]
        self.statements = begin + self._block(3, False, (), self._random.randint(2, 6))

    # Generation of trees.

    def _block(self, depth: int, in_loop: bool, local: tuple[str, ...], most: int = 4) -> list[Tree]:
        found: list[Tree] = []
        for _ in range(self._random.randint(1, most)):
            if self._random.random() < (0.3 if in_loop else 0.12) and depth < 3:
                name = f"t{len(self.local)}"
                self.local.append(name)
                found.append(("local", name, self._random.choice((None, self._bits(1, local)))))
                local = (*local, name)
            found += self._statement(depth, in_loop, local)
        return found

    def _statement(self, depth: int, in_loop: bool, local: tuple[str, ...]) -> list[Tree]:
        self._left -= 1
        draw = self._random.random()
        if 0.5 < draw < (0.8 if in_loop else 0.6):
            return self._perhaps(local)
        if depth and self._left > 0 and draw < 0.5:
            if draw < 0.2:
                then = self._block(depth - 1, in_loop, local)
                other = self._block(depth - 1, in_loop, local) if self._random.random() < 0.4 else []
                return [("if", self._condition(2, local), then, other)]
            if draw < 0.25:
                return [("for", self._random.randint(1, 3), self._block(depth - 1, True, local))]
            if draw < 0.29:
                cases = [self._block(depth - 1, in_loop, local) for _ in range(self._random.randint(1, 3))]
                return [("switch", self._random.choice(list(self.registers)), cases)]
            return self._while(depth, local)
        if in_loop and draw > 0.93:
            leave: Tree = (self._random.choice(("break", "continue")),)
            return [leave] if self._random.random() < 0.2 else [("if", self._condition(1, local), [leave], [])]
        return [self._plain(local)]

    def _perhaps(self, local: tuple[str, ...]) -> list[Tree]:
        """Generate a bit that is cleared, maybe written, and read."""
        place, seen = self._bit(local), self._bit(local)
        write = self._random.choice(
            (
                ("measure", self._random.randrange(self.qubits), place),
                ("set", place, self._bits(1, local)),
                ("set", place, ("number", 1)),
            )
        )
        return [
            ("set", place, ("number", 0)),
            ("if", self._condition(1, local), [write], []),
            ("set", seen, ("^", ("bit", *seen), ("bit", *place))),
        ]

    def _number(self, depth: int, local: tuple[str, ...]) -> Tree:
        """Generate an integer expression of integers, bits and constants."""
        draw = self._random.random()
        if not depth or draw < 0.3:
            return ("integer", self._random.choice(list(self.integers)))
        if draw < 0.4:
            return ("bit", *self._bit(local))
        left = self._number(depth - 1, local)
        if draw < 0.7:
            return (self._random.choice("+-*"), left, ("number", self._random.choice((1, 1, 2, 3, 300, -1, -70))))
        if draw < 0.8:
            return (self._random.choice(("%", "<<", ">>")), left, ("number", self._random.choice((1, 2, 3, 5))))
        return (self._random.choice("++-&|^"), left, self._number(depth - 1, local))

    def _plain(self, local: tuple[str, ...]) -> Tree:
        if self.integers and self._random.random() < 0.5:
            return ("compute", self._random.choice(list(self.integers)), self._number(2, local))
        draw = self._random.random()
        qubit = self._random.randrange(self.qubits)
        if draw < 0.32:
            if self.qubits > 1 and self._random.random() < 0.3:
                return ("gate", "cx", tuple(self._random.sample(range(self.qubits), 2)))
            return ("gate", self._random.choice(("h", "h", "x", "ry(0.9)", "s")), (qubit,))
        if draw < 0.6:
            return ("measure", qubit, self._bit(local))
        if draw < 0.67:
            return ("reset", qubit)
        if draw < 0.9:
            kinds = (self._bits(2, local), self._condition(1, local), ("number", self._random.randrange(2)))
            return ("set", self._bit(local), self._random.choices(kinds, (4, 2, 3))[0])
        name = self._random.choice(list(self.registers))
        size = self.registers[name]
        return ("set", (name, 0), self._bits(1, local)) if not size else ("set_all", name, self._word(2, size))

    def _while(self, depth: int, local: tuple[str, ...]) -> list[Tree]:
        """Generate a loop that most likely ends: by a measurement that its condition reads, or by a break."""
        target = self._bit(local)
        qubit = self._random.randrange(self.qubits)
        end: list[Tree] = [("gate", "h", (qubit,)), ("measure", qubit, target)]
        body = self._block(depth - 1, True, local, 3)
        condition: Tree = ("bit", *target) if self._random.random() < 0.5 else ("!", ("bit", *target))
        draw = self._random.random()
        if draw < 0.2:
            condition = ("&&", condition, self._condition(1, local))
        elif draw < 0.35:
            end.append(("if", ("!", condition), [("break",)], []))
            condition = ("true",)
        elif draw < 0.45:
            end = [("if", self._condition(1, local), end, [("gate", "h", (qubit,)), ("measure", qubit, target)])]
        begin: list[Tree] = []
        if self._random.random() < 0.8:
            changed = self._bit(local)
            begin = [("set", changed, ("number", self._random.randrange(2)))]
            if changed != target:
                body.append(("set", changed, ("~", ("bit", *changed))))
        return [*begin, ("while", condition, body + end if self._random.random() < 0.8 else end + body)]

    def _bit(self, local: tuple[str, ...]) -> tuple[str, int]:
        if local and self._random.random() < 0.55:
            return self._random.choice(local), 0
        name = self._random.choice(list(self.registers))
        return name, self._random.randrange(self.registers[name] or 1)

    def _bits(self, depth: int, local: tuple[str, ...]) -> Tree:
        """Generate a Boolean expression of bits."""
        draw = self._random.random()
        if not depth or draw < 0.3:
            return ("bit", *self._bit(local))
        if draw < 0.45:
            return ("~", self._bits(depth - 1, local))
        return (self._random.choice("&|^"), self._bits(depth - 1, local), self._bits(depth - 1, local))

    def _condition(self, depth: int, local: tuple[str, ...]) -> Tree:
        if self.integers and self._random.random() < 0.25:
            known: Tree = ("number", self._random.choice((0, 1, 2, 5, 301, -1)))
            other = known if self._random.random() < 0.7 else self._number(0, local)
            return (self._random.choice(("<", "<=", ">", ">=", "==", "!=")), self._number(1, local), other)
        draw = self._random.random()
        if not depth or draw < 0.35:
            return ("bit", *self._bit(local))
        if draw < 0.5:
            return ("!", self._condition(depth - 1, local))
        if draw < 0.75:
            return (self._random.choice(("&&", "||")), self._condition(depth - 1, local), self._condition(0, local))
        name = self._random.choice(list(self.registers))
        size = self.registers[name]
        word: Tree = self._word(1, size) if size else ("word", name)
        return (self._random.choice(("==", "!=")), word, self._random.randrange(1 << (size or 1)))

    def _word(self, depth: int, size: int) -> Tree:
        """Generate a register's value."""
        draw = self._random.random()
        if not depth or draw < 0.35:
            return ("word", self._random.choice([name for name in self.registers if self.registers[name] == size]))
        if draw < 0.5:
            return ("literal", size, self._random.randrange(1 << size))
        if draw < 0.65:
            return ("~", self._word(depth - 1, size), size)
        return (self._random.choice("&|^"), self._word(depth - 1, size), self._word(depth - 1, size))

    # Source text.

    def text(self) -> str:
        lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', f"qubit[{self.qubits}] q;"]
        lines += [f"bit[{size}] {name};" if size else f"bit {name};" for name, size in self.registers.items()]
        lines += [f"{kind}[{size}] {name};" for name, (kind, size) in self.integers.items()]
        return "\n".join([*lines, *self._lines(self.statements, "")]) + "\n"

    def _lines(self, block: list[Tree], indent: str) -> Iterator[str]:  # noqa: C901 - one case a statement
        for node in block:
            match node:
                case ("gate", name, qubits):
                    yield f"{indent}{name} {', '.join(f'q[{qubit}]' for qubit in qubits)};"
                case ("measure", qubit, place):
                    yield f"{indent}{self._name(*place)} = measure q[{qubit}];"
                case ("reset", qubit):
                    yield f"{indent}reset q[{qubit}];"
                case ("set", place, value):
                    yield f"{indent}{self._name(*place)} = {self._shown(value)};"
                case ("set_all", name, value):
                    yield f"{indent}{name} = {self._shown(value)};"
                case ("compute", name, value):
                    yield f"{indent}{name} = {self._shown(value)};"
                case ("local", name, value):
                    yield f"{indent}bit {name};" if value is None else f"{indent}bit {name} = {self._shown(value)};"
                case (("break" | "continue") as word,):
                    yield f"{indent}{word};"
                case ("if", condition, then, other):
                    yield f"{indent}if ({self._shown(condition)}) {{"
                    yield from self._lines(then, indent + "  ")
                    if other:
                        yield f"{indent}}} else {{"
                        yield from self._lines(other, indent + "  ")
                    yield indent + "}"
                case ("switch", name, cases):
                    yield f"{indent}switch (int({name})) {{"
                    for number, case in enumerate(cases):
                        yield f"{indent}{f'case {number}' if number + 1 < len(cases) else 'default'} {{"
                        yield from self._lines(case, indent + "  ")
                        yield indent + "}"
                    yield indent + "}"
                case ("for", number, body):
                    yield f"{indent}for int i in [1:{number}] {{"
                    yield from self._lines(body, indent + "  ")
                    yield indent + "}"
                case ("while", condition, body):
                    yield f"{indent}while ({self._shown(condition)}) {{"
                    yield from self._lines(body, indent + "  ")
                    yield indent + "}"
                case _:
                    raise AssertionError(node)

    def _name(self, name: str, place: int) -> str:
        return f"{name}[{place}]" if self.registers.get(name) else name

    def _shown(self, node: Tree | int) -> str:
        match node:
            case int():
                return str(node)
            case ("bit", name, place):
                return self._name(name, place)
            case ("number", number):
                return str(number)
            case ("word" | "integer", name):
                return str(name)
            case ("literal", size, number):
                return f'"{number:0{size}b}"'
            case ("true",):
                return "true"
            case (("!" | "~") as sign, part, *_):
                return f"{sign}({self._shown(part)})"
            case (sign, left, right):
                return f"({self._shown(left)}) {sign} ({self._shown(right)})"
        raise AssertionError(node)

    # Expected distributions.

    def distribution(self) -> dict[str, float]:
        """Return the probability of each result, without the probability that loops dropped."""
        self._places: dict[tuple[str, int], int] = {}
        for name, size in itertools.chain(self.registers.items(), ((name, 0) for name in self.local)):
            for place in range(size or 1):
                self._places[name, place] = len(self._places)
        for name in self.integers:
            self._places[name, 0] = len(self._places)
        state = np.zeros((2**self.qubits,) * 2, dtype=complex)
        state[0, 0] = 1
        found: dict[str, float] = {}
        for values, end in self._run(self.statements, {(0,) * len(self._places): state})[0].items():
            key = " ".join(hex(self._all(name, values)) for name in reversed(self.registers))
            found[key] = found.get(key, 0.0) + float(np.trace(end).real)
        return found

    def _run(self, block: list[Tree], worlds: Worlds) -> tuple[Worlds, Worlds, Worlds]:  # noqa: C901 - one case a statement
        """Return the worlds at the block's end, those that left by a break, and those by a continue."""
        broken: Worlds = {}
        continued: Worlds = {}
        for node in block:
            match node:
                case ("break",):
                    _join(broken, worlds)
                    worlds = {}
                case ("continue",):
                    _join(continued, worlds)
                    worlds = {}
                case ("if", condition, then, other):
                    yes, no = self._split(condition, worlds)
                    worlds = {}
                    for taken, side in ((then, yes), (other, no)):
                        for into, ends in zip((worlds, broken, continued), self._run(taken, side), strict=True):
                            _join(into, ends)
                case ("switch", name, cases):
                    rest, worlds = worlds, {}
                    for number, case in enumerate(cases):
                        last = number + 1 == len(cases)
                        side, rest = (rest, {}) if last else self._split(("==", ("word", name), number), rest)
                        for into, ends in zip((worlds, broken, continued), self._run(case, side), strict=True):
                            _join(into, ends)
                case ("for", rounds, body):
                    worlds = self._loop(("true",), body, worlds, rounds)
                case ("while", condition, body):
                    worlds = self._loop(condition, body, worlds, None)
                case _:
                    ends = {}
                    for values, state in worlds.items():
                        for end in self._step(node, values, state):
                            _join(ends, dict((end,)))
                    worlds = ends
        return worlds, broken, continued

    def _loop(self, condition: Tree, body: list[Tree], worlds: Worlds, rounds: int | None) -> Worlds:
        done: Worlds = {}
        for _ in range(ROUNDS if rounds is None else rounds):
            worlds, over = self._split(condition, {k: v for k, v in worlds.items() if v.trace().real > LEAST})
            _join(done, over)
            worlds, broken, continued = self._run(body, worlds)
            _join(done, broken)
            _join(worlds, continued)
            if not worlds:
                break
        if rounds is not None:
            _join(done, worlds)
        return done

    def _split(self, condition: Tree, worlds: Worlds) -> tuple[Worlds, Worlds]:
        sides: tuple[Worlds, Worlds] = ({}, {})
        for values, state in worlds.items():
            sides[not self._value(condition, values)][values] = state
        return sides

    def _step(  # noqa: C901 - one branch a statement
        self, node: Tree, values: tuple[int, ...], state: np.ndarray[Any, Any]
    ) -> Iterator[tuple[tuple[int, ...], np.ndarray[Any, Any]]]:
        match node:
            case ("gate", "cx", (control, target)):
                matrix = self._on(np.diag([1, 0]), control) + self._on(np.diag([0, 1]), control) @ self._on(
                    _ONE_QUBIT["x"], target
                )
                yield values, matrix @ state @ matrix.conj().T
            case ("gate", name, (qubit,)):
                matrix = self._on(_ONE_QUBIT[name], qubit)
                yield values, matrix @ state @ matrix.conj().T
            case ("measure", qubit, place):
                for seen in range(2):
                    matrix = self._on(np.diag([1 - seen, seen]), qubit)
                    end = matrix @ state @ matrix
                    if end.trace().real > 1e-13:
                        yield self._with(values, place, seen), end
            case ("reset", qubit):
                for matrix in (self._on(np.diag([1, 0]), qubit), self._on(np.array([[0, 1], [0, 0]]), qubit)):
                    yield values, matrix @ state @ matrix.T
            case ("set", place, value):
                yield self._with(values, place, self._value(value, values)), state
            case ("compute", name, value):
                kind, size = self.integers[name]
                number = self._value(value, values) % (1 << size)
                if kind == "int" and number >> (size - 1):
                    number -= 1 << size
                yield self._with(values, (name, 0), number), state
            case ("local", name, value):
                yield self._with(values, (name, 0), 0 if value is None else self._value(value, values)), state
            case ("set_all", name, value):
                number = self._value(value, values)
                for place in range(self.registers[name]):
                    values = self._with(values, (name, place), number >> place & 1)
                yield values, state
            case _:
                raise AssertionError(node)

    def _on(self, matrix: np.ndarray[Any, Any], qubit: int) -> np.ndarray[Any, Any]:
        return _wide(matrix.tobytes(), matrix.dtype.str, qubit, self.qubits)

    def _with(self, values: tuple[int, ...], place: tuple[str, int], value: int) -> tuple[int, ...]:
        number = self._places[place]
        return (*values[:number], value, *values[number + 1 :])

    def _all(self, name: str, values: tuple[int, ...]) -> int:
        return sum(values[self._places[name, place]] << place for place in range(self.registers[name] or 1))

    def _value(self, node: Tree | int, values: tuple[int, ...]) -> int:  # noqa: C901 - one case an operator
        match node:
            case int():
                return node
            case ("integer", name):
                return values[self._places[name, 0]]
            case ("bit", name, place):
                return values[self._places[name, place]]
            case ("number", number) | ("literal", _, number):
                return int(number)
            case ("word", name):
                return self._all(name, values)
            case ("true",):
                return 1
            case ("!", part):
                return int(not self._value(part, values))
            case ("~", part, *size):
                return ((1 << (size[0] if size else 1)) - 1) ^ self._value(part, values)
        sign, left, right = node[0], self._value(node[1], values), self._value(node[2], values)
        match sign:
            case "&" | "&&":
                return left & right
            case "|" | "||":
                return left | right
            case "^":
                return left ^ right
            case "==":
                return int(left == right)
            case "!=":
                return int(left != right)
            case _ if sign in _ON_INTEGERS:
                return int(_ON_INTEGERS[sign](left, right))
        raise AssertionError(node)


@functools.cache
def _wide(matrix: bytes, kind: str, qubit: int, qubits: int) -> np.ndarray[Any, Any]:
    """Return a one-qubit matrix as a matrix on all qubits."""
    small = np.frombuffer(matrix, kind).reshape(2, 2)
    return np.kron(np.kron(np.eye(2**qubit), small), np.eye(2 ** (qubits - qubit - 1)))


def _join(into: Worlds, worlds: Worlds) -> None:
    for values, state in worlds.items():
        into[values] = into[values] + state if values in into else state


def differs(circuit: Circuit, wanted: dict[str, float]) -> bool:
    """Return whether a circuit's results differ from those wanted by more than the dropped probabilities."""
    found = reference_simulator.distribution(circuit)
    lost = max(0.0, 2 - sum(found.values()) - sum(wanted.values()))
    return any(abs(found.get(key, 0) - wanted.get(key, 0)) > lost + 1e-7 for key in found | wanted)


def check(seed: int, again: bool = True, integers: bool = False) -> bool:
    """Compare a program with its IR and with the IR of its rewritten text; return whether it was compared."""
    program = Program(seed, integers)
    wanted = program.distribution()
    if sum(wanted.values()) < 1 - MOST_LOST:
        return False
    text = program.text()
    circuit = openqasm3_reader.read(text)
    assert not differs(circuit, wanted), (
        f"seed {seed}\n{text}wanted {wanted}\nread {reference_simulator.distribution(circuit)}"
    )
    if again:
        written = qasm3_writer.write(circuit).source
        assert isinstance(written, str)
        assert not differs(openqasm3_reader.read(written), wanted), (
            f"seed {seed}\n{text}wanted {wanted}\nwritten\n{written}"
        )
    return True


@pytest.mark.parametrize("part", range(4))
def test_random_programs_mean_what_they_say(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Loops have many rounds that affect no compared digit.
    monkeypatch.setattr(reference_simulator, "_LEAST", LEAST)
    compared = sum(check(seed, again=seed % 3 == 0) for seed in range(part * PROGRAMS, (part + 1) * PROGRAMS))
    assert compared > PROGRAMS // 2


def test_random_programs_whose_formulas_are_stored_in_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_simulator, "_LEAST", LEAST)
    monkeypatch.setattr(guards, "STORED_FORMULA_PARTS", 1)
    assert sum(check(seed, again=True) for seed in range(500, 500 + PROGRAMS)) > PROGRAMS // 2


@pytest.mark.parametrize("part", range(2))
def test_random_programs_compute_with_integers(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_simulator, "_LEAST", LEAST)
    if part:  # each bit of a sum is stored
        monkeypatch.setattr(flow, "KEPT_FORMULA_PARTS", 2)
    seeds = range(1100 + part * PROGRAMS, 1100 + (part + 1) * PROGRAMS)
    assert sum(check(seed, again=seed % 5 == 0, integers=True) for seed in seeds) > PROGRAMS // 2
