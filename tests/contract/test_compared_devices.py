# SPDX-License-Identifier: Apache-2.0
"""A comparison agrees with the providers: they compile a program if, and only if, it reports that they can run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.noise_pb2 import GateError, NoiseChannel, NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.cost_estimates import Estimates
from qonduit_server.device_fit import AnalyzedJob, Candidate, fit
from qonduit_server.providers import registry
from qonduit_server.worker.assembly import make_runner
from qonduit_server.worker.loop import Run
from tests.contract.program_analysis import built_in_descriptions
from tests.corpus.programs import LANGUAGES, Entry, entries

RESULT_LIMIT = 2**26
QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
AMPLITUDE_DAMPING = NoiseModel(gate_errors=[GateError(gates=["h"], channel=NoiseChannel(amplitude_damping=0.1))])
PAULI = NoiseModel(gate_errors=[GateError(gates=["h"], channel=NoiseChannel(bit_flip=0.1))])
MEASUREMENTS = {
    "at the end": "measure q[0] -> c[0];",
    "within": "measure q[0] -> c[0]; h q[0]; measure q[0] -> c[1];",
    "a condition": "measure q[0] -> c[0]; if (c == 1) h q[0]; measure q[0] -> c[1];",
    "a reset": "reset q[0]; h q[0]; measure q[0] -> c[0];",
}
SPECS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "damping": {"noise_model": AMPLITUDE_DAMPING},
    "Pauli errors": {"noise_model": PAULI},
    "a statevector": {"include_statevector": True},
    "single precision": {"simulation": SimulationOptions(floating_point="single")},
    "stabilizer": {"simulation": SimulationOptions(method="stabilizer")},
    "trajectories": {"simulation": SimulationOptions(method="trajectories")},
    "consent": {"simulation": SimulationOptions(allow_approximate=True)},
}


@pytest.fixture(scope="module")
def runners() -> dict[str, Run]:
    """Return a runner of each provider; that of "" reads programs."""
    return {"": make_runner(None)} | {name: make_runner(registry.get(name)) for name in registry.PROVIDERS}


def reported(run: Run, task: Task) -> Iterator[TaskEvent]:
    events: list[TaskEvent] = []
    run([task], events.append)
    yield from events


def disagreements(runners: dict[str, Run], program: TaskProgram, **options: Any) -> Sequence[str]:
    spec = JobSpec(**{"shots": 1000, "type": JobType.JOB_TYPE_RUNNER, **options})
    analysis = Task(attempt=1, analyze_only=True, spec=spec, programs=[program])
    features = [e.program_analyzed for e in reported(runners[""], analysis) if e.HasField("program_analyzed")]
    job = AnalyzedJob(spec, features, frozenset((program.language,)), result_limit_bytes=RESULT_LIMIT)
    assert features
    found = []
    for description in built_in_descriptions():
        provider = description.provider.name
        languages = frozenset(line.supported_language for line in description.provider.supported_languages)
        for device in description.devices:
            if device.capabilities.coupling_map:
                continue
            task = Task(attempt=1, compile_only=True, spec=spec, programs=[program], max_result_bytes=RESULT_LIMIT)
            task.provider, task.device = provider, device.name
            compiled = any(event.HasField("program_compiled") for event in reported(runners[provider], task))
            fits = fit(Candidate(f"{provider}/{device.name}", device, languages), job, Estimates())
            if compiled == bool(fits.obstacle):
                found.append(f"{provider}/{device.name}: {fits.obstacle or 'supported'}, compiled: {compiled}")
    return found


def task_program(entry: Entry) -> TaskProgram:
    program = TaskProgram(language=LANGUAGES[entry.language])
    if entry.language == "qpy":
        program.binary = entry.path.read_bytes()
    else:
        program.text = entry.path.read_text()
    program.inputs.update(entry.inputs)
    return program


def test_programs_of_the_corpus(runners: dict[str, Run]) -> None:
    for entry in list(entries())[::12]:
        assert not disagreements(runners, task_program(entry)), entry.file


@pytest.mark.parametrize("spec", SPECS)
def test_options_of_a_job(runners: dict[str, Run], spec: str) -> None:
    for qubits, gate in ((3, "t"), (3, "s"), (9, "t"), (9, "s"), (60, "t"), (60, "s"), (300, "s")):
        for name, measurement in MEASUREMENTS.items():
            if spec == "a statevector" and name != "at the end":
                continue
            chain = "".join(f"cx q[{qubit}],q[{qubit + 1}];" for qubit in range(qubits - 1))
            text = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; creg c[2]; h q[0]; {chain} {gate} q[1];'
            program = TaskProgram(language=QASM2, text=f"{text} {measurement}")
            assert not disagreements(runners, program, **SPECS[spec]), (qubits, gate, name)
