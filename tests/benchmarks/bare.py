# SPDX-License-Identifier: Apache-2.0
"""The reference: the bare SDK parses and runs with a reused pass manager, without storage, in its own process."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

# The setting of the server's workers, and of SDK users with small circuits: waiting threads do not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from qiskit import qasm2, transpile
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_aer import AerSimulator

from tests.benchmarks import programs


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _loop(work: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Call work repeatedly; times are seconds."""
    work()
    times: list[float] = []
    cpu, start = _cpu(), time.perf_counter()
    while (now := time.perf_counter()) - start < seconds or len(times) < 3:
        work()
        times.append(time.perf_counter() - now)
    return {"wall": time.perf_counter() - start, "cpu": _cpu() - cpu, "times": times}


def main(kind: str, seconds: float, shots: int) -> None:
    """Measure one kind: bell, bell_transpile (the usual code), hundred, or layered:QUBITS:DEPTH."""
    name, *numbers = kind.split(":")
    small = AerSimulator(method="statevector", max_parallel_threads=1)
    large = AerSimulator(method="statevector")
    manager = generate_preset_pass_manager(optimization_level=1, backend=small)

    def bell() -> object:
        return small.run(manager.run(qasm2.loads(programs.BELL)), shots=shots).result().get_counts()

    def bell_transpile() -> object:
        backend = AerSimulator()
        return backend.run(transpile(qasm2.loads(programs.BELL), backend), shots=shots).result().get_counts()

    hundred_texts = programs.hundred()

    def hundred() -> object:
        circuits = [qasm2.loads(text) for text in hundred_texts]
        return large.run(manager.run(circuits), shots=shots).result().get_counts()

    text = programs.layered(*map(int, numbers)) if numbers else ""

    def layered() -> object:
        return large.run(manager.run(qasm2.loads(text)), shots=shots).result().get_counts()

    work = {"bell": bell, "bell_transpile": bell_transpile, "hundred": hundred, "layered": layered}[name]
    print(json.dumps(_loop(work, seconds)))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
