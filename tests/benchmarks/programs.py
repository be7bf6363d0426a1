# SPDX-License-Identifier: Apache-2.0
"""The circuits of the benchmarks, as OpenQASM 2 text."""

from __future__ import annotations

import random

HEADER = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
BELL = HEADER + "qreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n"


def layered(qubits: int, depth: int, seed: int = 7) -> str:
    """Return a circuit of `depth` layers of random rotations and a ring of CNOTs, with all qubits measured."""
    angles = random.Random(seed)
    lines = [HEADER, f"qreg q[{qubits}];\ncreg c[{qubits}];\n"]
    for _ in range(depth):
        lines += [
            f"u3({angles.uniform(0, 3)},{angles.uniform(0, 3)},{angles.uniform(0, 3)}) q[{q}];\n" for q in range(qubits)
        ]
        lines += [f"cx q[{q}],q[{(q + 1) % qubits}];\n" for q in range(qubits)]
    return "".join([*lines, "measure q -> c;\n"])


def hundred() -> list[str]:
    """Return a hundred different small circuits for one job."""
    return [layered(3 + k % 3, 2, seed=k) for k in range(100)]
