# SPDX-License-Identifier: Apache-2.0
"""Benchmark server programs against clients: their start, their jobs, a variational loop, and many at once.

`python -m tests.benchmarks.server_program_runs programs ROUNDS` prints lines of JSON for `tests.benchmarks.__main__`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from qonduit_client import Client
from qonduit_client.qiskit import EstimatorV2, QonduitBackend
from tests.benchmarks.programs import BELL
from tests.server_process import serving

DEVICE: Final = "IBM/aer_simulator"
STEPS: Final = 50
MANY: Final = 100
_JOBS: Final = 30
_PATIENCE: Final = 600.0

EMPTY: Final = "def main(backend, user_messenger):\n    return 1\n"
CHILDREN: Final = f"""
import time
from qonduit_client import Client
def main(backend, user_messenger, count):
    client = Client()
    client.run({BELL!r}, shots=100).result()
    begun = time.perf_counter()
    for seed in range(count):
        client.run({BELL!r}, shots=100, seed=seed).result()
    return (time.perf_counter() - begun) / count
"""
#: The same loop in a client and in a program.
LOOP: Final = """
def loop(backend, steps, report):
    theta = Parameter("theta")
    ansatz = QuantumCircuit(2)
    ansatz.ry(theta, 0)
    ansatz.cx(0, 1)
    estimator = EstimatorV2(backend, exact=True)
    observable = SparsePauliOp(["ZZ", "XX", "ZI"], [1.0, 0.5, 0.25])
    value = 0.5
    for step in range(steps):
        points = [[value], [value + 1.5707963267948966], [value - 1.5707963267948966]]
        energy, plus, minus = estimator.run([(ansatz, observable, points)]).result()[0].data.evs
        report(float(energy))
        value -= 0.2 * (plus - minus) / 2
    return float(energy)
"""
VARIATIONAL: Final = f"""
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qonduit_client.qiskit import EstimatorV2
{LOOP}
def main(backend, user_messenger, steps):
    return loop(backend, steps, user_messenger.publish)
"""


def _seconds(act: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def programs(folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the figures."""
    files = {name: folder / f"{name}.py" for name in ("empty", "children", "variational")}
    for name, source in (("empty", EMPTY), ("children", CHILDREN), ("variational", VARIATIONAL)):
        files[name].write_text(source)
    with (
        serving(
            f"sqlite:///{folder / 'q.sqlite3'}",
            providers="IBM",
            enable_python_source="PYTHON",
            max_running_programs=str(MANY),
            log_level="error",
        ) as server,
        Client(server.target) as client,
    ):

        def run(name: str, **inputs: object) -> Any:
            return client.programs.run(files[name], DEVICE, inputs).output(timeout=_PATIENCE)

        def bell() -> None:
            for seed in range(_JOBS):
                client.run(BELL, DEVICE, shots=100, seed=seed).result()

        own = {"QuantumCircuit": QuantumCircuit, "Parameter": Parameter, "SparsePauliOp": SparsePauliOp}
        names: dict[str, Any] = own | {"EstimatorV2": EstimatorV2}
        exec(LOOP, names)  # noqa: S102 - the same source as in the program
        backend = QonduitBackend(DEVICE, client)
        run("empty")
        bell()
        names["loop"](backend, 2, lambda _: None)
        starts = [_seconds(lambda: run("empty")) for _ in range(5 * rounds)]
        yield {
            "what": "an empty server program, from its submission to its output",
            "unit": "ms",
            "goal": "< 100 ms",
            "ours": starts,
        }
        # In turns, so that a load of the machine concerns both.
        pairs = [(run("children", count=_JOBS), _seconds(bell) / _JOBS) for _ in range(3 * rounds)]
        inside, outside = zip(*pairs, strict=True)
        yield {
            "what": "a Bell job of a server program",
            "unit": "ms",
            "goal": "< 1 x",
            "ours": list(inside),
            "theirs": list(outside),
            "reference": "the same job of a client",
        }
        pairs = [
            (
                _seconds(lambda: run("variational", steps=STEPS)),
                _seconds(lambda: names["loop"](backend, STEPS, lambda _: None)),
            )
            for _ in range(2 * rounds)
        ]
        program, loops = zip(*pairs, strict=True)
        yield {
            "what": f"a variational loop of {STEPS} steps as a server program",
            "unit": "s",
            "goal": "< 1 x",
            "ours": list(program),
            "theirs": list(loops),
            "reference": "the same loop in a client",
        }

        def many() -> None:
            handles = [client.programs.run(files["empty"], DEVICE) for _ in range(MANY)]
            assert [each.output(timeout=_PATIENCE) for each in handles] == [1] * MANY

        rates = [MANY / _seconds(many) for _ in range(rounds)]
        yield {"what": f"{MANY} empty server programs at once", "unit": "jobs/s", "goal": "", "ours": rates}


def main(kind: str, rounds: int) -> None:
    """Measure one kind."""
    assert kind == "programs"
    with tempfile.TemporaryDirectory() as folder:
        for line in programs(Path(folder), rounds):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
