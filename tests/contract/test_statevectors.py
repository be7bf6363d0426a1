# SPDX-License-Identifier: Apache-2.0
"""Exact states: every provider returns the same one, or the reason why a program has none; access to them."""

from __future__ import annotations

import io
import struct
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import qasm2, qasm3, qpy
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Operator, Statevector

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import FurtherResult, Task, TaskEvent
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit.v1.result_pb2 import ResultType
from qonduit_server.errors import ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions, SimulatorProvider
from qonduit_server.store import catalogue
from qonduit_server.store.jobs import queue
from qonduit_server.worker import runner
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, descriptions, programs, refused, rpc_fixture
from tests.universal_providers import universal_providers

LANGUAGES = Languages()
HEADER2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
HEADER3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
MEBIBYTE = 1024**2
#: The tolerance for rounding errors.
EXACT = 1e-9


def language(name: str) -> AssemblerLanguage:
    return AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{name}")


@pytest.fixture(scope="module", params=universal_providers())
def provider(request: pytest.FixtureRequest) -> SimulatorProvider:
    """Each provider, loaded."""
    found = registry.get(request.param)
    runner.Runner(found, LANGUAGES).load()
    return found


class Run:
    """The events that running a task emitted. A program is its text, in OpenQASM, or a language and its source."""

    def __init__(
        self,
        provider: Any,
        *sources: str | tuple[str, str | bytes],
        statevector: bool = True,
        by: runner.Runner | None = None,
        **task: Any,
    ) -> None:
        self.task = Task(
            job_id=7,
            attempt=1,
            provider=provider.name,
            device=provider.describe().devices[0].name,
            spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=100, seed=5, include_statevector=statevector),
            **task,
        )
        for k, each in enumerate(sources):
            name, source = each if isinstance(each, tuple) else ("QASM3" if "OPENQASM 3" in each else "QASM2", each)
            program = self.task.programs.add(program_id=100 + k, language=language(name))
            if isinstance(source, bytes):
                program.binary = source
            else:
                program.text = source
        self.events: list[TaskEvent] = []
        (by or runner.Runner(provider, LANGUAGES)).run(self.task, self.events.append)
        self.further: dict[int, Sequence[FurtherResult]] = {
            event.program_succeeded.index: event.program_succeeded.further
            for event in self.events
            if event.HasField("program_succeeded")
        }
        self.failures: dict[int, Failure] = {
            event.program_failed.index: event.program_failed.failure
            for event in self.events
            if event.HasField("program_failed")
        }

    @property
    def state(self) -> NDArray[np.complex128]:
        """Return the state of the only program."""
        assert not self.failures, self.failures
        ((further,),) = self.further.values()
        assert further.result.result_type == ResultType.RESULT_TYPE_STATEVECTOR
        assert further.result.program_id == 100
        number = 1 << further.result.statevector.num_qubits
        if further.result.HasField("buffer"):
            assert not further.result.statevector.real
            numbers = struct.unpack(f">{2 * number}d", further.buffer)
            real, imaginary = numbers[::2], numbers[1::2]
        else:
            real, imaginary = further.result.statevector.real, further.result.statevector.imaginary
            assert not further.buffer
        assert len(real) == len(imaginary) == number
        return np.array(real) + 1j * np.array(imaginary)

    @property
    def failure(self) -> Failure:
        """Return the failure of the only program."""
        assert not self.further
        (failure,) = self.failures.values()
        return failure


def distance(found: NDArray[np.complex128], wanted: NDArray[np.complex128]) -> float:
    """Return the largest difference of amplitudes, after both states have the same global phase."""
    assert found.shape == wanted.shape
    overlap = np.vdot(found, wanted)
    return float(np.abs(found * (overlap / abs(overlap)) - wanted).max())


def drawn(seed: int) -> QuantumCircuit:
    """Return a random circuit of up to 6 qubits, one of them idle, with barriers and a global phase."""
    qubits = 1 + seed % 5
    inner = random_circuit(qubits, 4, max_operands=3, seed=seed)
    places = np.random.default_rng(seed).permutation(qubits + 1)[:qubits].tolist()
    circuit = QuantumCircuit(qubits + 1, 2, global_phase=0.1 * seed)
    circuit.h(places)
    circuit.barrier()
    circuit.compose(inner, places, inplace=True)
    circuit.barrier(places[0])
    circuit.rz(0.3, places[0])
    return circuit


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit with one qubit measured before gates on the others, and one at the end."""
    whole = circuit.copy()
    whole.measure(0, 1)
    for qubit in range(1, whole.num_qubits):
        whole.ry(0.7, qubit)
    whole.barrier()
    whole.measure(whole.num_qubits - 1, 0)
    return whole


def source_of(name: str, circuit: QuantumCircuit) -> str | bytes:
    """Return a Qiskit circuit in a language: written by Qiskit where it can, else translated by Qonduit."""
    if name == "QASM2":
        return str(qasm2.dumps(circuit))
    if name == "QASM3":
        return str(qasm3.dumps(circuit))
    out = io.BytesIO()
    qpy.dump(circuit, out, version=13)
    if name == "QISKIT":
        return out.getvalue()
    hub = LANGUAGES.read(language("QISKIT"), "", out.getvalue(), {})
    return LANGUAGES.write(language(name), hub).source


class TestStates:
    """The amplitudes are correct and in the correct order."""

    @pytest.mark.parametrize("name", ["QASM2", "QASM3", "QISKIT", "BRAKET", "CIRQ", "QUIL"])
    def test_random_circuits_in_every_language(self, provider: SimulatorProvider, name: str) -> None:
        for seed in range(6):
            circuit = drawn(seed)
            whole = measured(circuit)
            for qubit in range(1, circuit.num_qubits):
                circuit.ry(0.7, qubit)
            state = Run(provider, (name, source_of(name, whole))).state
            assert distance(state, Statevector(circuit).data) < EXACT, f"seed {seed}"

    def test_the_first_declared_qubit_is_the_lowest_bit(self, provider: SimulatorProvider) -> None:
        assert Run(provider, HEADER2 + "qreg b[1]; qreg a[2]; creg c[1]; x a[0]; measure b -> c;").state[0b010] == 1
        assert Run(provider, HEADER3 + "qubit[2] q; qubit r; x r; x q[0];").state[0b101] == 1
        assert Run(provider, HEADER3 + "x $7; id $2;").state[0b10] == 1
        assert Run(provider, ("QUIL", "X 7\nI 2\n")).state[0b10] == 1

    def test_declared_but_unused_qubits_are_part_of_the_state(self, provider: SimulatorProvider) -> None:
        assert Run(provider, HEADER2 + "qreg q[3]; creg c[1];").state.tolist() == [1] + [0] * 7
        assert Run(provider, HEADER2 + "qreg q[2]; qreg idle[2]; x q[1]; barrier idle;").state[0b0010] == 1
        assert Run(provider, HEADER2 + "creg c[2];").state.tolist() == [1]

    def test_global_phases_are_those_of_the_original_gates_on_every_provider(self, provider: SimulatorProvider) -> None:
        circuit = QuantumCircuit(5)
        circuit.h(range(5))
        circuit.unitary(Operator(random_circuit(4, 3, seed=4)), [3, 0, 4, 1])
        circuit.mcp(0.3, [0, 1, 2, 3], 4)
        state = Run(provider, ("QISKIT", source_of("QISKIT", circuit))).state
        assert np.abs(state - Statevector(circuit).data).max() < EXACT

    def test_relative_phases(self, provider: SimulatorProvider) -> None:
        text = "gphase(0.3); qubit[2] q; h q[0]; s q[0]; cx q[0], q[1]; ctrl @ gphase(pi) q[1];"
        assert distance(Run(provider, HEADER3 + text).state, np.array([1, 0, 0, -1j]) / np.sqrt(2)) < EXACT

    def test_resets_of_zero_states_and_final_measurements_change_nothing(self, provider: SimulatorProvider) -> None:
        text = "reset q; h q[0]; c[0] = measure q[0]; x q[2]; barrier q; reset q[1]; c[1] = measure q[1];"
        run = Run(provider, f"{HEADER3}qubit[3] q; bit[3] c; {text}")
        assert distance(run.state, np.array([0, 0, 0, 0, 1, 1, 0, 0]) / np.sqrt(2)) < EXACT

    def test_counts_are_the_same_without_a_statevector(self, provider: SimulatorProvider) -> None:
        text = HEADER2 + "qreg q[4]; creg c[4]; h q; cx q[0],q[1]; measure q -> c;"
        counts = [
            next(event.program_succeeded.result for event in run.events if event.HasField("program_succeeded"))
            for run in (Run(provider, text), Run(provider, text, statevector=False))
        ]
        assert counts[0].counts_and_probabilities == counts[1].counts_and_probabilities

    def test_a_large_state_is_sent_in_rows(self, provider: SimulatorProvider) -> None:
        qubits = 14
        text = f"{HEADER2}qreg q[{qubits}]; h q; " + "".join(
            f"cu1({0.1 * k}) q[{k}],q[{(k + 3) % qubits}]; ry({0.2 * k}) q[{k}]; " for k in range(qubits)
        )
        run = Run(provider, text)
        ((further,),) = run.further.values()
        assert further.result.buffer.size_bytes == len(further.buffer) == 16 << qubits
        assert distance(run.state, Statevector(qasm2.loads(text)).data) < EXACT

    def test_metadata_name_the_sdk_and_not_the_shots(self, provider: SimulatorProvider) -> None:
        ((further,),) = Run(provider, HEADER2 + "qreg q[1]; creg c[1]; h q[0]; measure q -> c;").further.values()
        metadata = further.result.meta_data
        assert metadata["sdk"]
        assert metadata["sdk_version"]
        assert metadata["method"] == "statevector"
        assert "seed" not in metadata

    def test_a_program_that_already_ran_without_a_statevector(self, provider: SimulatorProvider) -> None:
        keeping = runner.Runner(provider, LANGUAGES)
        text = HEADER2 + "qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"
        bare = Run(provider, text, statevector=False, by=keeping)
        assert [list(each) for each in bare.further.values()] == [[]]
        for _ in range(2):
            assert distance(Run(provider, text, by=keeping).state, np.array([1, 0, 0, 1]) / np.sqrt(2)) < EXACT


#: Programs without a pure state before the end: the reported operation, and its line in QASM3.
REFUSED = {
    "a gate on a measured qubit": ("h q[0];\nc[0] = measure q[0];\nh q[0];", "measurements within a circuit", 7),
    "a diagonal gate on one": ("h q[0];\nc[0] = measure q[0];\nz q[0];", "measurements within a circuit", 7),
    "two measurements of one": ("h q[0];\nc[0] = measure q[0];\nc[1] = measure q[0];", "measurements within", 7),
    "a reset": ("h q[0];\ncx q[0], q[1];\nreset q[0];", "resets within a circuit", 7),
    "a reset of a measured qubit": ("h q[0];\nc[0] = measure q[0];\nreset q[0];", "resets within a circuit", 7),
    "a condition": ("h q[0];\nc[0] = measure q[0];\nif (c[0]) { x q[1]; }", "conditioned on measured bits", 7),
    "a loop": ("h q[0];\nc[0] = measure q[0];\nwhile (c[0]) { h q[0]; c[0] = measure q[0]; }", "loops", 7),
}  # fmt: skip


class TestRefusals:
    """Programs that have no such state fail as a whole; the message has the reason and the fix."""

    @pytest.mark.parametrize("case", REFUSED)
    def test_a_nonunitary_operation_is_named(self, provider: SimulatorProvider, case: str) -> None:
        body, construct, line = REFUSED[case]
        text = f"{HEADER3}qubit[2] q;\nbit[2] c;\n{body}\n"
        failure = Run(provider, text).failure
        assert (failure.reason, failure.category) == ("NO_STATEVECTOR", FailureCategory.FAILURE_CATEGORY_PROGRAM)
        assert construct in failure.message
        assert "without include_statevector" in failure.message
        assert failure.line == line
        assert len(Run(provider, text, statevector=False).further) == 1

    def test_a_reset_within_an_operation_of_qiskit(self, provider: SimulatorProvider) -> None:
        fresh, used = QuantumCircuit(2), QuantumCircuit(2)
        used.h(0)
        for circuit in (fresh, used):
            circuit.initialize([0.6, 0.8], 0)
        state = Run(provider, ("QISKIT", source_of("QISKIT", fresh))).state
        assert distance(state, np.array([0.6, 0.8, 0, 0])) < EXACT
        assert Run(provider, ("QISKIT", source_of("QISKIT", used))).failure.reason == "NO_STATEVECTOR"

    def test_the_other_programs_of_the_job_run(self, provider: SimulatorProvider) -> None:
        bad = HEADER2 + "qreg q[1]; creg c[1]; h q[0]; measure q -> c; x q[0];"
        good = HEADER2 + "qreg q[1]; creg c[1]; x q[0]; measure q -> c;"
        run = Run(provider, good, bad, good)
        assert sorted(run.further) == [0, 2]
        assert run.failures[1].reason == "NO_STATEVECTOR"

    @pytest.mark.parametrize("qubits", [23, 40])
    def test_a_state_over_the_result_limit_is_refused_before_it_is_computed(
        self, provider: SimulatorProvider, qubits: int
    ) -> None:
        text = f"{HEADER2}qreg q[{qubits}]; creg c[1]; h q[0]; measure q[0] -> c[0];"
        run = Run(provider, text, max_result_bytes=64 * MEBIBYTE)
        assert run.failure.reason == "RESULT_TOO_LARGE"
        assert "22 qubits" in run.failure.message
        assert not any(event.progress.message == "running" for event in run.events)

    def test_memory_includes_the_state_and_its_encoding(self, provider: SimulatorProvider) -> None:
        text = HEADER2 + "qreg q[18]; creg c[1]; h q[0]; measure q[0] -> c[0];"
        device = provider.describe().devices[0].name
        circuit = LANGUAGES.read(language("QASM2"), text, b"", {})
        bare = provider.compile(circuit, device).memory_bytes
        need = provider.compile(circuit, device, CompileOptions(statevector=True)).memory_bytes
        # At least: simulated, returned as an array, and packed into rows.
        assert need >= max(bare, 3 * 16 << 18)
        assert Run(provider, text, memory_limit_bytes=need).state[0]
        failure = Run(provider, text, memory_limit_bytes=need - 1).failure
        assert failure.reason == "MEMORY_LIMIT"
        assert "statevector" in failure.message
        asked = Run(provider, text, memory_granted_bytes=need - 1)
        assert asked.events[-1].declined.memory_bytes == need
        assert not asked.further


class ThirdPartyProvider:
    """A third-party provider written before statevectors existed, or one that fails while computing one."""

    name = "OLDER"

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact

    def describe(self) -> ProviderDescription:
        capabilities = DeviceCapabilities(job_types=[JobType.JOB_TYPE_RUNNER], statevector=self._exact)
        return ProviderDescription(devices=[Device(name="d", is_simulator=True, capabilities=capabilities)])

    def load(self) -> None:
        pass

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> CompiledCircuit:
        assert options.statevector == self._exact
        return CompiledCircuit(circuit, 1)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int
    ) -> Iterator[Outcome | RunError]:
        for _ in compiled:
            yield Outcome({0: shots})

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        if len(compiled.native.registers) > 1:  # type: ignore[attr-defined]
            raise ProviderError("BROKEN", "no")
        return np.array([1, 0], dtype=np.complex128)


class TestProvidersOfOthers:
    """Capability false: the server calls no statevector method of them."""

    TEXT = "OPENQASM 2.0; qreg q[1]; creg c[1];"

    def test_a_provider_without_statevectors_runs_and_is_not_asked_for_one(self) -> None:
        assert len(Run(ThirdPartyProvider(), self.TEXT, statevector=False).further) == 1
        run = Run(ThirdPartyProvider(), self.TEXT)
        failure = run.events[-1].finished.failure
        assert (failure.reason, failure.category) == ("NO_STATEVECTOR", FailureCategory.FAILURE_CATEGORY_DEVICE)
        assert not run.further

    def test_a_provider_that_fails_fails_that_program_only(self) -> None:
        run = Run(ThirdPartyProvider(exact=True), self.TEXT, self.TEXT + " creg d[1];", self.TEXT)
        assert sorted(run.further) == [0, 2]
        assert run.failures[1].reason == "BROKEN"


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    """A gRPC server with devices that return no statevectors, and with one that does."""
    with rpc_fixture(tmp_path) as it:
        yield it


def exact() -> ProviderDescription:
    """Return the description of a provider whose device returns statevectors."""
    description = ProviderDescription()
    description.CopyFrom(descriptions()[0])
    description.provider.CopyFrom(ProviderMessage(name="EXACT"))
    description.provider.supported_languages.extend(descriptions()[0].provider.supported_languages)
    del description.devices[1:]
    description.devices[0].capabilities.statevector = True
    return description


def asking(device: str = "EXACT/aer_simulator", **fields: Any) -> job_service.CreateJobRequest:
    """Return a request for a Bell job with a statevector."""
    job = Job(**{"shots": 10, "include_statevector": True} | fields.pop("job", {}))
    return job_service.CreateJobRequest(job=job, device=device, deployment=programs(BELL), **fields)


class TestJobs:
    """From the request to the worker's task."""

    def test_devices_without_statevectors_are_refused_at_submit(self, rpc: RpcFixture) -> None:
        code, details = refused(lambda: rpc.jobs.CreateJob(asking("IBM/aer_simulator"), timeout=WAIT))
        assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
        (violation,) = details["PreconditionFailure"].violations
        assert violation.subject == "job.include_statevector"
        assert "this server has no compatible device" in violation.description
        catalogue.sync(rpc.db, [*descriptions(), exact()])
        _, details = refused(lambda: rpc.jobs.CreateJob(asking("IBM/aer_simulator"), timeout=WAIT))
        assert "compatible devices: EXACT/aer_simulator" in details["PreconditionFailure"].violations[0].description

    def test_a_refusal_for_qubits_lists_only_devices_with_statevectors(self, rpc: RpcFixture) -> None:
        counting, large = descriptions()[0], exact()
        counting.provider.name = "COUNTING"
        counting.devices[0].num_qubits = 60
        large.provider.name = "LARGE"
        large.devices[0].num_qubits = 60
        catalogue.sync(rpc.db, [exact(), counting, large])
        request = asking()
        request.deployment.programs[0].quantum_circuit = "OPENQASM 2.0;\nqreg q[40];"
        _, details = refused(lambda: rpc.jobs.CreateJob(request, timeout=WAIT))
        assert (
            details["PreconditionFailure"].violations[0].description.endswith("compatible devices: LARGE/aer_simulator")
        )

    def test_other_job_types_refuse_a_statevector(self, rpc: RpcFixture) -> None:
        request = asking("OTHER/sampler", job={"type": JobType.JOB_TYPE_SAMPLER})
        code, details = refused(lambda: rpc.jobs.CreateJob(request, timeout=WAIT))
        assert code == "INVALID_ARGUMENT"
        assert details["BadRequest"].field_violations[0].field == "job.include_statevector"

    def test_the_option_is_stored_with_the_job_and_kept_for_reruns(self, rpc: RpcFixture) -> None:
        catalogue.sync(rpc.db, [*descriptions(), exact()])
        assert rpc.jobs.CreateJob(asking(validate_only=True), timeout=WAIT).job.include_statevector
        made = rpc.jobs.CreateJob(asking(), timeout=WAIT).job
        again = rpc.jobs.RerunJob(job_service.RerunJobRequest(id=made.id), timeout=WAIT).job
        for job in (made, again):
            assert job.include_statevector
            assert rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id), timeout=WAIT).job.include_statevector
        assert [each.spec.include_statevector for each in self.claim(rpc)] == [True, True]

    def test_the_option_makes_a_request_a_different_one(self, rpc: RpcFixture) -> None:
        catalogue.sync(rpc.db, [*descriptions(), exact()])
        request_id = str(uuid.uuid4())
        rpc.jobs.CreateJob(asking(request_id=request_id), timeout=WAIT)
        assert rpc.jobs.CreateJob(asking(request_id=request_id), timeout=WAIT).deduplicated
        other = asking(request_id=request_id, job={"include_statevector": False})
        code, _ = refused(lambda: rpc.jobs.CreateJob(other, timeout=WAIT))
        assert code == "ALREADY_EXISTS"

    def claim(self, rpc: RpcFixture) -> list[Task]:
        return queue.claim(rpc.db, "tests", {"EXACT": 10}, timedelta(minutes=5))
