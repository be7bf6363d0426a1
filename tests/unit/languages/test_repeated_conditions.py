# SPDX-License-Identifier: Apache-2.0
"""Programs that compute repeatedly with values computed from measurements.

Qubits are in basis states when measured, so each program has one outcome, which an interpreter of the tree computes.
The reader does not know the outcome of a measurement.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from qonduit_server.errors import LimitError, ProgramError
from qonduit_server.ir import deferral
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.languages.writing import qasm2_writer
from qonduit_server.providers import registry as providers
from tests.unit.ir.reference_simulator import close, distribution

ROUNDS = 30
DEVICES = (("IBM", "aer_simulator"), ("GOOGLE", "cirq_simulator"), ("AWS", "local_simulator"))
SHOTS = 20

#: Measures q[k] into c[j], sets c[j] to an expression, or branches on c[j].
Node = tuple[Any, ...]
FORMS: dict[str, Sequence[Node]] = {
    "nested": [("if", 0, [("measure", 0, 0), ("if", 1, [("measure", 1, 1)], [])], [])],
    "nested with else": [
        ("if", 0, [("measure", 0, 0), ("if", 1, [("measure", 1, 1)], [("measure", 0, 1)])], [("measure", 1, 0)]),
    ],
    "crossed": [
        ("if", 0, [("measure", 1, 1), ("if", 1, [("measure", 0, 0)], [])], [("measure", 0, 0), ("set", 1, "xor")]),
    ],
    "assigned": [("measure", 0, 0), ("if", 0, [("if", 1, [("measure", 1, 1)], [("set", 1, "copy")])], [])],
    "computed": [("measure", 0, 0), ("set", 1, "or"), ("set", 0, "xor")],
}
#: Written so that each bit occurs twice.
EXPRESSIONS: dict[str, tuple[str, Callable[[list[int]], int]]] = {
    "copy": ("c[0]", lambda c: c[0]),
    "or": ("(c[0] ^ c[1]) | (c[0] & c[1])", lambda c: c[0] | c[1]),
    "xor": ("(c[0] | c[1]) & ~(c[0] & c[1])", lambda c: c[0] ^ c[1]),
}


def text(nodes: Sequence[Node]) -> str:
    lines = []
    for kind, *rest in nodes:
        if kind == "measure":
            lines.append(f"c[{rest[1]}] = measure q[{rest[0]}];")
        elif kind == "set":
            lines.append(f"c[{rest[0]}] = {EXPRESSIONS[rest[1]][0]};")
        else:
            lines.append(f"if (c[{rest[0]}]) {{ {text(rest[1])} }} else {{ {text(rest[2])} }}")
    return " ".join(lines)


def execute(nodes: Sequence[Node], c: list[int], q: Sequence[int]) -> None:
    for kind, *rest in nodes:
        if kind == "measure":
            c[rest[1]] = q[rest[0]]
        elif kind == "set":
            c[rest[0]] = EXPRESSIONS[rest[1]][1](c)
        else:
            execute(rest[1] if c[rest[0]] else rest[2], c, q)


def program(form: str, seed: int, rounds: int = ROUNDS, around: str = "{}") -> tuple[str, str]:
    """Return a program and the key of its only outcome: r is the parity of c[0] after each round."""
    choices = random.Random(f"{form} {seed}")
    c = [1, 1]
    shown = 0
    lines = []
    for _ in range(rounds):
        q = [choices.randrange(2), choices.randrange(2)]
        lines.append("reset q[0]; reset q[1];" + "".join(f" x q[{k}];" for k in (0, 1) if q[k]))
        lines.append(text(FORMS[form]) + " if (c[0]) { x q[2]; }")
        execute(FORMS[form], c, q)
        shown ^= c[0]
        if choices.randrange(4) == 0:  # otherwise bits stay 0
            lines.append("c[0] = ~c[0]; c[1] = ~c[1];")
            c = [1 - each for each in c]
    body = around.replace("{}", "\n".join(lines))
    head = 'OPENQASM 3.0; include "stdgates.inc"; qubit[4] q; bit[2] c; bit r; x q[0]; x q[1]; c = measure q[0:1];\n'
    return f"{head}{body}\nr = measure q[2];", f"{shown:#x} {c[0] + 2 * c[1]:#x}"


@pytest.mark.parametrize("form", FORMS)
def test_many_rounds_mean_what_they_say(form: str) -> None:
    for seed in range(2):
        source, key = program(form, seed)
        assert close(distribution(openqasm3_reader.read(source)), {key: 1.0})


@pytest.mark.parametrize("form", ["nested with else", "computed"])
def test_every_provider_runs_many_rounds(form: str) -> None:
    source, key = program(form, 0)
    circuit = openqasm3_reader.read(source)
    for provider, device in DEVICES:
        assert counts(circuit, provider, device) == {key: SHOTS}


def counts(circuit: Circuit, provider: str, device: str) -> dict[str, int]:
    ours = providers.get(provider)
    (outcome,) = ours.run(device, [ours.compile(circuit, device)], SHOTS, 7)
    found: dict[str, int] = {}
    for value, number in outcome.counts.items():  # type: ignore[union-attr]
        found[circuit.key(value)] = found.get(circuit.key(value), 0) + number
    return found


def test_many_rounds_within_a_loop_that_ends_by_a_measurement() -> None:
    # One round: q[3] is 0.
    source, key = program("nested with else", 5, around="bit go = 1; while (go) { {} go = measure q[3]; }")
    found = distribution(openqasm3_reader.read(source))
    assert close({" ".join(k.split()[-2:]): p for k, p in found.items()}, {key: 1.0})


def test_the_circuit_grows_only_with_the_rounds() -> None:
    programs = [program("nested", 1, rounds)[0] for rounds in (20, 40, 80)]
    sizes = [len(openqasm3_reader.read(each).quantum.data) for each in programs]
    assert sizes[2] - sizes[1] < 3 * (sizes[1] - sizes[0])


def test_translation_to_a_language_without_conditions_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both took 45 s of work until another bound was met.
    with pytest.raises(LimitError, match="its formula has more than 5000 parts"):
        qasm2_writer.write(openqasm3_reader.read(program("computed", 1)[0]))
    monkeypatch.setattr(deferral, "MAX_OPERATIONS", 10_000)
    with pytest.raises(LimitError, match="conditions take more than 10000 gates"):
        qasm2_writer.write(openqasm3_reader.read(program("nested with else", 1)[0]))


def test_steps_are_still_bounded() -> None:
    with pytest.raises(ProgramError) as caught:
        openqasm3_reader.read(program("nested", 0, 20_000)[0])
    assert caught.value.reason == "TOO_LARGE"
