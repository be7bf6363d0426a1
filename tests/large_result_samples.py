# SPDX-License-Identifier: Apache-2.0
"""Results too large for a message, as a worker sends them."""

from __future__ import annotations

import random
from collections import Counter

from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramSucceeded
from qonduit.v1.result_pb2 import Register, Result
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.worker.result_encoding import encode_counts


def noise(bits: int, shots: int, seed: int = 11) -> dict[int, int]:
    """Return counts of outcomes of `bits` random bits."""
    draw = random.Random(seed)
    return Counter(draw.getrandbits(bits) for _ in range(shots))


def packed(counts: dict[int, int], bits: int, index: int = 0) -> ProgramSucceeded:
    """Return the event that a worker sends for a program with one register of `bits` bits."""
    circuit = Circuit(None, (ClassicalRegister("c", tuple(range(bits))),))  # type: ignore[arg-type]
    result = Result(shots=sum(counts.values()), registers=[Register(name="c", size=bits)])
    rows = encode_counts(result, circuit, counts, 0)
    return ProgramSucceeded(index=index, result=result, buffer=rows)


def further(succeeded: ProgramSucceeded) -> FurtherResult:
    """Return the same result as a further result of the program."""
    return FurtherResult(result=succeeded.result, buffer=succeeded.buffer)


def unpacked(rows: bytes, bits: int) -> dict[int, int]:
    """Return the counts in the rows of one register."""
    width = (bits + 7) // 8
    row = width + 8
    return {
        int.from_bytes(rows[start : start + width], "big"): int.from_bytes(rows[start + width : start + row], "big")
        for start in range(0, len(rows), row)
    }
