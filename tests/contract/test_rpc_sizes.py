# SPDX-License-Identifier: Apache-2.0
"""No response is larger than 3 MiB, whatever the store holds: every RPC is called with the largest accepted data."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramFeatures,
    ProgramSucceeded,
    Task,
    TaskEvent,
    TaskFinished,
)
from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1.calibration_pb2 import DeviceCalibration, GateCalibration
from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.credential_service_pb2 import CreateCredentialRequest
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest, UpdateDeploymentRequest
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.device_service_pb2 import CompareDevicesRequest
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_PROGRAM, Failure
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.job_service_pb2 import CreateJobRequest, RunJobRequest
from qonduit.v1.program_service_pb2 import ListLanguagesResponse, TranslateProgramRequest, TranslateProgramResponse
from qonduit.v1.project_pb2 import Project, ProjectMember, ProjectRole
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider, ProviderAssemblerLanguage
from qonduit.v1.quota_pb2 import Quota, QuotaValues
from qonduit.v1.result_pb2 import Result
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.rpc.server import SERVICES
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import catalogue, deployments
from qonduit_server.store.jobs import queue
from qonduit_server.store.jobs.job_spec import INLINE_BYTES
from qonduit_server.store.quota_registry import MAX_UNITS, NUMBERS
from qonduit_server.store.users import quota_rows
from tests.contract.rpc_fixture import BELL, OWNER, QASM2, RpcFixture, descriptions, details_of, rpc_fixture
from tests.large_result_samples import noise, packed

MOST = 3 * 1024**2
PROGRAMS = 500
JOBS = 500
#: As a runner truncates it: 2,000 characters, each of the most bytes.
MESSAGE = "\U0001f6a7" * 2000
LARGE = {"bits": "0" * 65_000}
#: The largest inputs that lists contain.
INLINE = {"bits": "0" * (INLINE_BYTES - 20)}
TINY = "OPENQASM 2.0;"


def translate(program: QuantumProgram, *_: Any) -> TranslateProgramResponse:
    """Return the requested value, grown to the size that it names."""
    size = int(program.quantum_circuit)
    return TranslateProgramResponse(program=QuantumProgram(quantum_circuit="x" * (size - 9)))


def analyze(task: Task, *_: Any) -> tuple[list[ProgramFeatures], list[ProgramFailed]]:
    """Return features of no program, which every device can run."""
    return [], []


LANGUAGES = ListLanguagesResponse()
LANGUAGES.languages.add(language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, readable=True, writable=True)


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    workers_of = {"translate": translate, "analyze_job": analyze, "workers": workers}
    keys = KeyRing(keys=[Key("one", b"k" * 32)])
    with rpc_fixture(tmp_path_factory.mktemp("sizes"), languages=LANGUAGES, keys=keys, **workers_of) as it:
        fill(it)
        yield it


def workers() -> list[Worker]:
    """More workers than machines have cores, each with the longest phase that is listed."""
    return [Worker(server="s" * 64, provider="IBM", pid=number, phase="p" * 200) for number in range(4096)]


def fill(rpc: RpcFixture) -> None:
    """Store the largest resources of each kind, enough of them that page sizes reach the byte limit."""
    many = ProviderDescription(
        provider=Provider(name="MANY", supported_languages=[ProviderAssemblerLanguage(supported_language=QASM2)]),
        devices=[
            Device(
                name=f"device{number}",
                num_qubits=20,
                is_simulator=True,
                available=True,
                max_shots=1_000_000,
                status_message="s" * 3000,
                capabilities=DeviceCapabilities(job_types=[JobType.JOB_TYPE_RUNNER]),
                basis_gates=["cx"] * 100,
            )
            for number in range(1100)
        ],
        calibrations=[
            CalibratedDevice(
                device="device1099",
                calibration=DeviceCalibration(
                    gates=[GateCalibration(gate="ecr", qubits=[0, 1], error=0.1, duration=1e-7)] * 20_000
                ),
            )
        ],
    )
    catalogue.sync(rpc.db, [*descriptions(), many])

    # Deployments: many with small programs, where ids are as large as texts, and one of the largest allowed size.
    small = Deployment(programs=[QuantumProgram(quantum_circuit=TINY, assembler_language=QASM2)] * PROGRAMS)
    for _ in range(175):
        deployments.create(rpc.db, "anonymous", small)
    rpc.deployments.CreateDeployment(CreateDeploymentRequest(deployment=largest(rpc)))

    # A job of 500 programs that all fail with the longest message, and one whose results have the largest size.
    failing, succeeding = (
        rpc.jobs.CreateJob(CreateJobRequest(job=job(), device="IBM/aer_simulator", deployment=small)).job
        for _ in range(2)
    )
    rpc.claim()
    failure = Failure(
        category=FAILURE_CATEGORY_PROGRAM, reason="SYNTAX_ERROR", message=MESSAGE, provider_code="c" * 5000
    )
    record(rpc, failing, [{"program_failed": ProgramFailed(index=k, failure=failure)} for k in range(PROGRAMS)])
    result = Result(shots=10)
    result.counts_and_probabilities.counts.update({f"0x{key:x}": 1 for key in range(8400)})
    result.counts_and_probabilities.probabilities.update({f"0x{key:x}": 0.1 for key in range(8400)})
    large = packed(noise(127, 30_000), 127)
    record(
        rpc,
        succeeding,
        [
            *({"program_succeeded": ProgramSucceeded(index=k, result=result)} for k in range(30)),
            {"program_succeeded": ProgramSucceeded(index=30, result=large.result, buffer=large.buffer)},
            *({"log": {"message": MESSAGE * 500}} for _ in range(2)),
            *({"log": {"message": MESSAGE}} for _ in range(600)),
        ],
    )
    # Jobs that are large in a list, and some whose inputs are empty.
    with ThreadPoolExecutor(16) as pool:
        made = [job(INLINE) for _ in range(JOBS - 10)] + [job() for _ in range(10)]
        requests = [CreateJobRequest(job=each, device="IBM/aer_simulator", deployment=one()) for each in made]
        for response in pool.map(rpc.jobs.CreateJob, requests):
            assert response.job.HasField("inputs") or response.job.inputs_reference.sha256


def job(inputs: dict[str, str] = LARGE) -> Job:
    made = Job(shots=10, name="\U0001f6a7" * 63)
    made.inputs.update(inputs)
    return made


def one() -> Deployment:
    return Deployment(programs=[QuantumProgram(quantum_circuit=BELL, assembler_language=QASM2)])


def record(rpc: RpcFixture, of: Job, events: list[dict[str, Any]]) -> None:
    task_events = [TaskEvent(job_id=of.id, attempt=1, **event) for event in (*events, {"finished": TaskFinished()})]
    assert not queue.record(rpc.db, OWNER, task_events)


def deployment_of(size: int) -> Deployment:
    """Return a deployment with this many bytes of text."""
    each, more = divmod(size, 3)
    texts = [" " * (each + more * (not k) - len(TINY)) for k in range(3)]
    return Deployment(
        programs=[QuantumProgram(quantum_circuit=TINY + text, assembler_language=QASM2) for text in texts]
    )


def largest(rpc: RpcFixture) -> Deployment:
    """Return the largest deployment that is accepted, to the byte."""
    taken, refused = MOST - 4096, MOST
    device = "IBM/aer_simulator"
    while refused - taken > 1:
        size = (taken + refused) // 2
        request = CreateJobRequest(job=Job(shots=10), device=device, deployment=deployment_of(size), validate_only=True)
        try:
            rpc.jobs.CreateJob(request)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            refused = size
        else:
            taken = size
    return deployment_of(taken)


class Calls:
    """Calls RPCs and measures their responses on the wire."""

    def __init__(self, rpc: RpcFixture) -> None:
        self.channel = grpc.insecure_channel(rpc.target, options=[("grpc.max_receive_message_length", -1)])
        self.sizes: dict[str, int] = {}
        self.methods: dict[str, MethodDescriptor] = {
            f"{service.name}/{method.name}": method for service in SERVICES.values() for method in service.methods
        }

    def __call__(self, name: str, request: Any = None, /, **fields: Any) -> list[Any]:
        """Call a method; record the size of its largest response."""
        method = self.methods[name]
        request = request if request is not None else message_factory.GetMessageClass(method.input_type)(**fields)
        path = f"/{method.containing_service.full_name}/{method.name}"
        data = request.SerializeToString()
        if method.server_streaming:
            responses = list(self.channel.unary_stream(path)(data, timeout=60))
        else:
            responses = [self.channel.unary_unary(path)(data, timeout=60)]
        self.sizes[name] = max([self.sizes.get(name, 0), *map(len, responses)])
        return [message_factory.GetMessageClass(method.output_type).FromString(each) for each in responses]

    def refused(self, name: str, /, **fields: Any) -> None:
        """Call a method that refuses; a successful response of it is as large as one of GetJob."""
        with pytest.raises(grpc.RpcError) as refusal:
            self(name, **fields)
        assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        self.sizes[name] = 0

    def pages(self, name: str, /, **fields: Any) -> list[Any]:
        """Walk a list in pages of 1000."""
        pages = self(name, page_size=1000, **fields)
        while token := pages[-1].next_page_token:
            pages += self(name, page_size=1000, page_token=token, **fields)
        return pages


def _credentials(call: Calls, providers: list[Provider]) -> None:
    """Call every RPC about the longest credentials of a provider that requires one."""
    (with_token,) = (each for each in providers if each.with_token)
    for number in range(100):
        longest = Credential(name=f"{number:063}", provider_id=with_token.id)
        stored = CreateCredentialRequest(credential=longest, secret="s" * 4096)
        (made,) = call("CredentialService/CreateCredential", stored)
    credentials = [each for page in call.pages("CredentialService/ListCredentials") for each in page.credentials]
    assert len(credentials) == 100
    call("CredentialService/GetCredential", id=made.credential.id)
    call("CredentialService/UpdateCredential", id=made.credential.id, secret="t" * 4096)
    call("CredentialService/DeleteCredential", id=made.credential.id)


def _projects(call: Calls) -> None:
    """Call every RPC about the longest projects, and as many members as a project has."""
    for number in range(32):
        longest = Project(name=f"p{number:062}", description="d" * 1024)
        call("ProjectService/CreateProject", project=longest)
    for number in range(999):
        member = ProjectMember(user=f"{number:0128}", role=ProjectRole.PROJECT_ROLE_VIEWER)
        call("ProjectService/SetProjectMember", project=longest.name, member=member)
    assert len(call.pages("ProjectService/ListProjects")[0].projects) == 32
    assert len(call.pages("ProjectService/ListProjectMembers", project=longest.name)[0].members) == 1000
    call("ProjectService/UpdateProject", project=longest)
    call("ProjectService/GetProject", name=longest.name)
    call("ProjectService/RemoveProjectMember", project=longest.name, user=member.user)
    call("ProjectService/DeleteProject", name=longest.name)


def test_every_rpc_answers_within_3_mib(rpc: RpcFixture) -> None:
    call = Calls(rpc)
    jobs = [job for page in call.pages("JobService/ListJobs") for job in page.jobs]
    assert len(jobs) == JOBS + 2
    succeeding, failing = jobs[-2:] if jobs[-2].id > jobs[-1].id else jobs[:-3:-1]
    for each in (succeeding, failing):
        (got,) = call("JobService/GetJob", id=each.id)
        assert len(got.job.program_runs) == PROGRAMS
        watched = call("JobService/WatchJob", job_id=each.id)
        listed = [event for page in call.pages("JobService/ListJobEvents", job_id=each.id) for event in page.events]
        assert [response.event for response in watched] == listed
    # Every failure message is truncated at the limit and marked as truncated.
    assert all(
        len(run.failure.message.encode()) > 1500 and run.failure.message.endswith("...")
        for run in call("JobService/GetJob", id=failing.id)[0].job.program_runs
    )
    call("JobService/CancelJob", id=failing.id)
    call("JobService/RerunJob", id=failing.id)
    call.refused("JobService/ResolveSubmission", id=failing.id, not_submitted=True)

    deployed = [each for page in call.pages("DeploymentService/ListDeployments") for each in page.deployments]
    assert len(deployed) >= 176
    assert len({each.id for each in deployed}) == len(deployed)
    biggest = max(deployed, key=lambda each: each.ByteSize())
    assert call("DeploymentService/GetDeployment", id=biggest.id)[0].deployment == biggest
    call("DeploymentService/CreateDeployment", CreateDeploymentRequest(deployment=biggest))
    call(
        "DeploymentService/UpdateDeployment",
        UpdateDeploymentRequest(deployment=Deployment(id=biggest.id, programs=biggest.programs)),
    )
    renamed = UpdateDeploymentRequest(deployment=Deployment(id=biggest.id, name="\U0001f6a7" * 63))
    call("DeploymentService/UpdateDeployment", renamed)
    call("DeploymentService/DeleteDeployment", id=deployed[-1].id)

    large_job = CreateJobRequest(job=job(), device="IBM/aer_simulator", deployment=biggest)
    (created,) = call("JobService/CreateJob", large_job)
    call("JobService/UpdateJob", job=Job(id=created.job.id, priority=1, labels={"\U0001f6a7" * 15: "\U0001f6a7" * 63}))
    previewed = RunJobRequest(job=job(), device="IBM/aer_simulator", deployment=biggest, validate_only=True)
    call("JobService/RunJob", previewed)

    devices = [device for page in call.pages("DeviceService/ListDevices") for device in page.devices]
    assert len(devices) >= 1100
    for name in ("GetDevice", "GetDeviceStatus", "GetDeviceCalibration"):
        call(f"DeviceService/{name}", id=devices[0].id)
    (refreshed,) = call("DeviceService/RefreshDevices", provider_id=devices[0].provider_id)
    assert refreshed.devices
    compared = CompareDevicesRequest(job=Job(shots=10**7), deployment=one())
    assert len(call("DeviceService/CompareDevices", compared)[0].fits) == 500
    providers = [each for page in call.pages("ProviderService/ListProviders") for each in page.providers]
    call("ProviderService/GetProvider", id=providers[0].id)
    _credentials(call, providers)
    _projects(call)

    call.pages("AuditService/ListAuditEntries")
    text = "\U0001f6a7" * 125
    for device in devices[:600]:
        call("DeviceService/PauseDevice", id=device.id, message=text)
    assert len(call("SystemService/ListPauses")[0].pauses) == 500
    call("DeviceService/ResumeDevice", id=devices[0].id)
    for name in ("Pause", "Resume"):
        call(f"ProviderService/{name}Provider", id=providers[0].id)
        call(f"SystemService/{name}Server")
    for owner in range(101):
        call("SystemService/SetShare", provider_id=providers[0].id, owner=f"{owner:03}" + "\U0001f6a7" * 63, weight=2)
    assert len(call.pages("SystemService/ListShares")[0].shares) == 100

    results = [each for page in call.pages("ResultService/ListResults", job_id=succeeding.id) for each in page.results]
    assert len(results) == 31
    for each in results[-2:]:
        call("ResultService/GetResult", id=each.id)
    call("ResultService/ReadBuffer", name=results[-1].buffer.name)

    call("ProgramService/ListLanguages")
    qasm3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
    for size in (1000, MOST - 100, MOST - 1):
        program = QuantumProgram(quantum_circuit=str(size), assembler_language=qasm3)
        call("ProgramService/TranslateProgram", TranslateProgramRequest(program=program, target_language=qasm3))
    call("SystemService/GetServerInfo")
    call("SystemService/ListWorkers")
    units = [f"{number:064}" for number in range(MAX_UNITS)]
    largest = QuotaValues(**dict.fromkeys(NUMBERS, 2**63 - 1), cost_per_day=dict.fromkeys(units, 1e9))
    for number in range(1200):
        quota_rows.set_quota(rpc.db, f"{number:0255}", largest)
    call("UsageService/SetQuota", quota=Quota(owner="x" * 255, limits=largest))
    call("UsageService/GetQuota", owner="x" * 255)
    assert len(call("UsageService/ListQuotas", page_size=1000)[0].quotas) == 1000
    call("UsageService/ListUsage", group_by=[1, 2, 3, 4], page_size=1000)
    call("JobService/DeleteJob", id=failing.id)
    for name in ("JobService/CancelJobs", "JobService/DeleteJobs"):
        (changed,) = call(name, filter="*", validate_only=True)
        assert len(changed.job_ids) == min(changed.count, 100)

    assert set(call.sizes) == set(call.methods), "a new RPC is to be called here with the worst that it accepts"
    assert {name: size for name, size in call.sizes.items() if size > MOST} == {}
    # The largest data was returned: pages that the byte limit ends are nearly full.
    full = ("ListJobs", "ListJobEvents", "ListDeployments", "GetDeployment", "ListDevices", "ListResults")
    for name, size in call.sizes.items():
        if name.rpartition("/")[2] in full:
            assert size > MOST * 0.6, (name, size)


def test_data_too_large_to_be_read_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path, limits=Limits(max_program_bytes=4 * 1024**2)) as rpc:
        too_large = Deployment(programs=[QuantumProgram(quantum_circuit=" " * MOST + "x", assembler_language=QASM2)])
        call = Calls(rpc)
        job_of = {"job": Job(shots=10), "device": "IBM/aer_simulator", "deployment": too_large}
        for name, request in (
            ("DeploymentService/CreateDeployment", CreateDeploymentRequest(deployment=too_large)),
            ("JobService/CreateJob", CreateJobRequest(**job_of)),
            ("JobService/RunJob", RunJobRequest(**job_of)),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                call(name, request)
            code, details = details_of(raised.value)
            assert code == "INVALID_ARGUMENT", name
            assert "at most" in details["BadRequest"].field_violations[0].description
        assert call.pages("JobService/ListJobs")[0].jobs == []
        assert call.pages("DeploymentService/ListDeployments")[0].deployments == []
