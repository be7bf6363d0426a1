# SPDX-License-Identifier: Apache-2.0
"""Run fixed programs with fixed seeds on each device, and hash their counts.

Run as a program, it writes the versions and the hashes of its own environment as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.noise_pb2 import NoiseModel, ReadoutError
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.worker.provenance import versions_of
from qonduit_server.worker.runner import Runner

_HEADER: Final = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
_SEED: Final = 20_260
_SHOTS: Final = 500

# No probability is 1/2 where a device computes it with rounding: NumPy draws binomial numbers in two ways, below and
# above it, so that the last digit of a probability, which depends on the processor, would decide the counts.
_ANSATZ: Final = (
    "qubit[4] q; bit[4] c;"
    + "".join(f"ry({0.3 + 0.37 * k}) q[{k % 4}]; rz({1.1 - 0.21 * k}) q[{k % 4}]; cx q[{k % 4}], q[{(k + 1) % 4}];"
              for k in range(12))
    + "c = measure q;"
)  # fmt: skip
_CLIFFORD: Final = (
    "qubit[5] q; bit[5] c; h q[0];"
    + "".join(f"cx q[{k}], q[{k + 1}]; s q[{k}]; h q[{k}];" for k in range(4))
    + "c = measure q;"
)
#: Its bits decide gates, and qubits are used again.
_BRANCHING: Final = (
    "qubit[2] q; bit[6] c;"
    + "".join(f"ry(1.2) q[0]; c[{k}] = measure q[0]; if (c[{k}]) {{ ry(0.7) q[1]; }} reset q[0];" for k in range(5))
    + "c[5] = measure q[1];"
)
_SMALL: Final = "qubit[2] q; bit[2] c; ry(0.4) q[0]; cx q[0], q[1]; rz(0.3) q[1]; h q[0]; c = measure q;"


def _noisy() -> NoiseModel:
    noise = NoiseModel(readout_errors=[ReadoutError(prob_1_given_0=0.03, prob_0_given_1=0.05)])
    error = noise.gate_errors.add(gates=["cx"])
    error.channel.depolarizing = 0.04
    return noise


#: Programs by name, with their noise model.
_PROGRAMS: Final[Mapping[str, tuple[str, NoiseModel | None]]] = {
    "ansatz": (_ANSATZ, None),
    "clifford": (_CLIFFORD, None),
    "branching": (_BRANCHING, None),
    "noisy": (_ANSATZ, _noisy()),
    "noisy clifford": (_CLIFFORD, _noisy()),
    "small": (_SMALL, None),
}
_PURE: Final = ("ansatz", "branching")
_ALL: Final = (*_PURE, "noisy")
#: The programs of each device.
DEVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "IBM/aer_simulator": (*_ALL, "clifford"),
    "IBM/fake_lima": ("small", "branching"),
    "AWS/local_simulator": _PURE,
    "AWS/braket_dm": _ALL,
    "GOOGLE/cirq_simulator": _PURE,
    "GOOGLE/cirq_density_matrix": _ALL,
    "GOOGLE/qsim_simulator": _PURE,
    "GOOGLE/rainbow": ("small",),
    "STIM/stim": ("clifford", "noisy clifford"),
}


def hashes(provider: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the devices of a provider, with the hash of the counts of each program."""
    runner = Runner(registry.get(provider), Languages())
    runner.load()
    for device, names in DEVICES.items():
        if device.startswith(f"{provider}/"):
            yield device, {name: _hash(_counts(runner, device, *_PROGRAMS[name])) for name in names}


def digest(of_device: Mapping[str, str]) -> str:
    """Return one hash of all programs of a device."""
    return _hash(of_device)


def _counts(runner: Runner, device: str, text: str, noise: NoiseModel | None) -> dict[str, int]:
    provider, _, name = device.partition("/")
    spec = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=_SHOTS, seed=_SEED, noise_model=noise)
    program = TaskProgram(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, text=_HEADER + text)
    task = Task(job_id=1, attempt=1, provider=provider, device=name, spec=spec, programs=[program])
    events: list[TaskEvent] = []
    runner.run(task, events.append)
    for event in events:
        if event.HasField("program_succeeded"):
            counts = dict(event.program_succeeded.result.counts_and_probabilities.counts)
            assert sum(counts.values()) == _SHOTS
            return counts
    failures = [event.program_failed.failure.message or event.finished.failure.message for event in events]
    raise AssertionError(f"{device}: {' '.join(' '.join(failures).split())[:300]}")


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def main(providers: list[str]) -> None:
    """Print the versions and the hashes of this environment as JSON."""
    found: dict[str, Any] = {"versions": {}, "hashes": {}}
    for provider in providers:
        made = registry.get(provider)
        found["versions"] |= versions_of(made, made.describe().devices)
        found["hashes"] |= dict(hashes(provider))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:] or sorted({device.partition("/")[0] for device in DEVICES}))
