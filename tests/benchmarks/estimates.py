# SPDX-License-Identifier: Apache-2.0
"""Compare estimated run times with the times of the runs.

`python -m tests.benchmarks.estimates TARGET` runs circuits from which the server learns. For circuits of other sizes,
it then prints lines of JSON: device, method, qubits, the estimate (p50, p90) and the time of the run, in seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from qonduit_client import Client

SHOTS = 1000
_ROUNDS = 3
_NOISE = {"gate_errors": [{"gates": ["cx"], "channel": {"amplitude_damping": 0.01}}]}


def layers(qubits: int, depth: int) -> str:
    """Return layers of rotations and CX gates."""
    lines = []
    for layer in range(depth):
        lines += [f"u3(0.{layer + 1},0.2,0.3) q[{qubit}];" for qubit in range(qubits)]
        lines += [f"cx q[{qubit}],q[{qubit + 1}];" for qubit in range(layer % 2, qubits - 1, 2)]
    return _program(qubits, lines)


def clifford_layers(qubits: int, depth: int) -> str:
    """Return layers of Clifford gates."""
    lines = []
    for layer in range(depth):
        lines += [f"{'hs'[(qubit + layer) % 2]} q[{qubit}];" for qubit in range(qubits)]
        lines += [f"cx q[{qubit}],q[{qubit + 1}];" for qubit in range(layer % 2, qubits - 1, 2)]
    return _program(qubits, lines)


def ghz_with_t(qubits: int, depth: int) -> str:
    """Return a wide circuit of little entanglement that is no Clifford circuit."""
    lines = ["h q[0];", *(f"cx q[{qubit}],q[{qubit + 1}]; t q[{qubit}];" for qubit in range(qubits - 1))]
    return _program(qubits, lines + [f"rz(0.{layer + 1}) q[{layer}];" for layer in range(depth)])


def _program(qubits: int, lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    return f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; creg c[{qubits}];\n{text}\nmeasure q -> c;'


class Case(NamedTuple):
    """Circuits of one kind on one device: the widths that the server learns from, and those that it estimates."""

    device: str
    circuit: Callable[[int, int], str]
    known: Sequence[int]
    asked: Sequence[int]
    options: dict[str, Any] | None = None


CASES = (
    Case("IBM/aer_simulator", layers, (4, 10, 16, 18), (6, 14, 17, 19)),
    Case("GOOGLE/cirq_simulator", layers, (4, 10, 14, 16), (6, 12, 15, 17)),
    Case("AWS/local_simulator", layers, (4, 10, 14, 16), (6, 12, 15, 17)),
    Case("IBM/aer_simulator", clifford_layers, (30, 60, 100), (40, 80, 120)),
    Case("STIM/stim", clifford_layers, (30, 60, 100), (40, 80, 120)),
    Case("IBM/aer_simulator", ghz_with_t, (35, 45), (40, 50), {"simulation": {"allow_approximate": True}}),
    Case("IBM/aer_simulator", layers, (3, 6, 8), (4, 7, 9), {"noise_model": _NOISE}),
    Case("IBM/aer_simulator", layers, (11, 12), (11, 12), {"noise_model": _NOISE}),
    Case("AWS/braket_dm", layers, (3, 6, 7), (4, 5), {"noise_model": _NOISE}),
)


def compare(target: str) -> Iterator[dict[str, Any]]:
    """Yield the estimate and the time of each run."""
    with Client(target, timeout=600) as client:
        for case in CASES:
            for _ in range(_ROUNDS):
                for qubits in case.known:
                    client.run(case.circuit(qubits, 8), case.device, SHOTS, **(case.options or {})).result(timeout=600)
        for case in CASES:
            for qubits in case.asked:
                text = case.circuit(qubits, 6)
                fits = client.compare_devices(text, SHOTS, **(case.options or {}))
                fit = next(fit for fit in fits if fit.device == case.device)
                result = client.run(text, case.device, SHOTS, **(case.options or {})).result(timeout=600)
                known = fit.HasField("estimated_seconds_p50")
                yield {
                    "device": case.device,
                    "method": fit.method,
                    "run_method": result.meta_data["method"],
                    "qubits": qubits,
                    "p50": fit.estimated_seconds_p50 if known else None,
                    "p90": fit.estimated_seconds_p90 if known else None,
                    "seconds": result.meta_data["run_seconds"],
                }


if __name__ == "__main__":
    for line in compare(sys.argv[1]):
        print(json.dumps(line), flush=True)
