# SPDX-License-Identifier: Apache-2.0
"""Mutated programs: a reader reads any input or reports what is wrong."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from qonduit_server.errors import DeviceError, LimitError, ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages import openqasm2_reader
from qonduit_server.languages.openqasm3 import openqasm3_reader

QASM2 = [
    """OPENQASM 2.0;
include "qelib1.inc";
gate g(a, b) p, q { rx(a / 2 + pi) p; cu1(-b ^ 2) p, q; barrier p; U(0, ln(a), sin(b)) q; }
opaque o(a) p;
qreg q[3]; qreg h[2];
creg c[3]; creg d[2];
h q; // a comment
g(0.5, 3) q[0], h[1];
ccx q[0], q[1], h[0];
reset h;
barrier q, h;
measure q -> c;
if (c == 5) u3(0.1, -0.2, pi/4) q[2];
measure h[0] -> d[1];
""",
]
QASM3 = [
    """OPENQASM 3.0;
include "stdgates.inc";
gate g(a, b) p, q { rx(a / 2 + pi) p; ctrl @ x p, q; inv @ pow(0.5) @ s q; gphase(b); }
const int n = 2;
qubit[4] q; qubit r;
bit[4] c = "0101"; bit d; bit[2] e;
array[int[8], 2, 2] a = {{1, 2}, {3, 4}};
for int i in [0:n - 1] { cx q[i], q[i + 1]; if (i == 1) { continue; } x r; }
for uint i in {1, 3} { rz(i * pi / 4) q; }
g(-0.5, 1) q[0], q[1];
barrier q;
c[0] = measure q[0];
if (c[0] == 1 && !d) { x q[1]; } else { reset q[2]; }
c = measure q;
a[0][1] += 3;
""",
    """OPENQASM 3.1;
include "stdgates.inc";
def f(qubit p, int[8] k, bit b) -> bit { ry(k * 0.5) p; if (b) { x p; } return measure p; }
def s(readonly array[int[8], #dim = 1] v) -> int { return v[0] + 1; }
qubit[3] q; bit[3] c; bit b;
int[8] i = 3; uint[4] u = 0b101; float w = 2.5e-1; angle[8] t = pi / 3; bool yes = true; complex zz = 1 + 2im;
array[int[8], 3] v = {1, 2, 3};
let part = q[0:1]; let both = q[{0, 2}];
c[0] = f(q[0], i, c[1]);
while (i > 0) { i -= 1; h part; }
while (c[0]) { h q[0]; c[0] = measure q[0]; b ^= c[0]; }
switch (i) { case 0, 1 { x q[2]; } default { y both[0]; } }
c[1] = measure q[1]; i = int[8](c) << 1; u |= 2; w **= 2;
if (i > 2) { rx(i) q[2]; } else if (popcount(c) % 2 == 1) { negctrl(2) @ x q[0], q[1], q[2]; }
v[1] = s(v) * -i; b = c[0] ^ ~c[1]; yes = !yes || sizeof(v) != 3;
c[1:2] = c[0:1]; rx(arcsin(w) + t + mod(5, 3)) q[2];
for bit k in c { if (k) { z q[0]; } }
end;
""",
]
NUMBERS = [
    "0", "1", "2", "3", "7", "0.5", "1e999", "1.0e-400", "-1", "99999999999999999999", "1" * 5000, "0x1f", "0b11",
    '"101"', "2im", "100ns", "true", "pi", "1.5",
]  # fmt: skip
SIGNS = [
    "+", "-", "*", "/", "%", "**", "^", "&", "|", "<<", ">>", "==", "!=", "<", ">=", "&&", "||", "!", "~", "++", "=",
    "+=", "~=", "^=", "<<=", "**=", "->", "@", ";", ",", ":", "(", ")", "[", "]", "{", "}", "$0", "#", '"', "\\",
    "\0", "π", "/*", "//",
]  # fmt: skip
WORDS = [
    "measure", "reset", "end;", "break;", "continue;", "return;", "barrier", "gate", "def", "if", "else", "while",
    "for", "in", "let", "const", "input", "output", "extern", "box", "delay", "duration", "stretch", "durationof",
    "sizeof", "inv", "ctrl", "pow", "negctrl", "cal", "defcal", "pragma", "int", "bit", "bool", "angle", "complex",
    "array", "qubit", "creg", "qreg", "opaque", "include", "OPENQASM", "mutable", "readonly", "U", "gphase",
    "popcount", "rotl", "real", "log",
]  # fmt: skip
TOKEN = re.compile(r"\"[^\"]*\"|\d[\w.]*|\w+|\s+|[^\w\s]")


def mutated(programs: list[str], rng: random.Random) -> str:
    """Return one of the programs with one to three small changes."""
    tokens = TOKEN.findall(rng.choice(programs))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = [k for k, token in enumerate(tokens) if not token.isspace()]
        place, other = rng.choice(places), rng.choice(places)
        match rng.choice((0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8)):
            case 0:
                del tokens[place]
            case 1:
                tokens.insert(place, " " + rng.choice(WORDS + NUMBERS + SIGNS) + " ")
            case 2:
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case 3:
                del tokens[place : place + rng.randint(1, 12)]
            case 4:
                tokens[place] = tokens[other]
            case 5:
                numbers = [k for k in places if tokens[k][0].isdigit()]
                tokens[rng.choice(numbers or places)] = rng.choice(NUMBERS)
            case 6:
                signs = [k for k in places if not tokens[k][0].isalnum()]
                tokens[rng.choice(signs or places)] = rng.choice(SIGNS)
            case 7:
                names = [k for k in places if tokens[k].isidentifier()]
                tokens[rng.choice(names or places)] = tokens[rng.choice(names or places)]
            case 8:  # a statement from another program
                text = "".join(tokens)
                pieces = re.split(r"(?<=[;{}])", text)
                pieces.insert(rng.randrange(len(pieces)), rng.choice(re.split(r"(?<=[;}])", rng.choice(programs))))
                tokens = TOKEN.findall("".join(pieces))
        if not any(not token.isspace() for token in tokens):
            break
    return "".join(tokens)


def check(read: Callable[[str], Circuit], text: str) -> str:
    """Read a program and return the outcome; fail on slowness and on errors other than the reader's own."""
    began = time.thread_time()
    try:
        circuit = read(text)
    except (ProgramError, LimitError, DeviceError) as error:
        outcome = error.reason
    else:
        circuit.key(0)
        circuit.key((1 << circuit.quantum.num_clbits) - 1)
        outcome = "read"
    assert time.thread_time() - began < 5.0  # far more than a refusal takes, far less than expanding the program
    return outcome


@pytest.mark.parametrize(
    ("module", "programs", "times"),
    [(openqasm2_reader, QASM2, 400), (openqasm3_reader, QASM3, 250)],
    ids=["openqasm2", "openqasm3"],
)
def test_whatever_is_sent_is_read_or_refused(module: Any, programs: list[str], times: int) -> None:
    for text in programs:
        assert check(module.read, text) == "read"
    for seed in range(times):
        text = mutated(programs, random.Random(seed))
        try:
            check(module.read, text)
        except Exception as error:
            error.add_note(f"seed {seed}:\n{text[:3000]}")
            raise
