# SPDX-License-Identifier: Apache-2.0
"""Compare estimated run times with the times of the runs.

`python -m tests.benchmarks.estimates TARGET` runs circuits from which the server learns. For other circuits, it then
prints lines of JSON: device, method, qubits, the estimate (p50, p90) and the time of the run, in seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from qonduit_client import Client

SHOTS = 1000
#: Devices, with the widths of the circuits that the server learns from and of those that it estimates.
_WIDTHS = {
    "IBM/aer_simulator": ((4, 10, 16, 18, 20), (6, 14, 17, 19, 21)),
    "GOOGLE/cirq_simulator": ((4, 10, 14, 16, 18), (6, 12, 15, 17, 19)),
    "AWS/local_simulator": ((4, 10, 14, 16), (6, 12, 15, 17)),
}
_ROUNDS = 3


def circuit(qubits: int, layers: int) -> str:
    """Return layers of rotations and CX gates."""
    lines = [f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; creg c[{qubits}];']
    for layer in range(layers):
        lines += [f"u3(0.{layer + 1},0.2,0.3) q[{qubit}];" for qubit in range(qubits)]
        lines += [f"cx q[{qubit}],q[{qubit + 1}];" for qubit in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "measure q -> c;"])


def compare(target: str) -> Iterator[dict[str, Any]]:
    """Yield the estimate and the time of each run."""
    with Client(target, timeout=600) as client:
        for device, (known, _) in _WIDTHS.items():
            for _ in range(_ROUNDS):
                for qubits in known:
                    client.run(circuit(qubits, 8), device, SHOTS).result(timeout=600)
        for device, (_, asked) in _WIDTHS.items():
            for qubits in asked:
                text = circuit(qubits, 6)
                fit = next(fit for fit in client.compare_devices(text, SHOTS) if fit.device == device)
                result = client.run(text, device, SHOTS).result(timeout=600)
                known_time = fit.HasField("estimated_seconds_p50")
                yield {
                    "device": device,
                    "method": fit.method,
                    "qubits": qubits,
                    "p50": fit.estimated_seconds_p50 if known_time else None,
                    "p90": fit.estimated_seconds_p90 if known_time else None,
                    "seconds": result.meta_data["run_seconds"],
                }


if __name__ == "__main__":
    for line in compare(sys.argv[1]):
        print(json.dumps(line), flush=True)
