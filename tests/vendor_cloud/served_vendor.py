# SPDX-License-Identifier: Apache-2.0
"""A server with the providers of one vendor, and a client of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import ListDevicesRequest, RefreshDevicesRequest
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, VendorCost
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.provider_service_pb2 import ListProvidersRequest
from qonduit.v1.provider_service_pb2_grpc import ProviderServiceStub
from qonduit.v1.result_pb2 import Result
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from qonduit_client import Client
from qonduit_server.encryption import key_ring
from qonduit_server.providers.vendors.ionq import URL_VARIABLE
from qonduit_server.providers.vendors.iqm import URL_VARIABLE as IQM_URL_VARIABLE
from tests.server_process import Server, serving
from tests.vendor_cloud.aws_provider import SHOT, TASK_FEE, AWSCloud
from tests.vendor_cloud.aws_provider import credential as aws_credential
from tests.vendor_cloud.environments import environment_python
from tests.vendor_cloud.fake_vendor import PRICE, Behavior, FakeVendor, fake_vendor
from tests.vendor_cloud.google_provider import PROJECT, GoogleCloud
from tests.vendor_cloud.ibm_provider import INSTANCE, IBMCloud
from tests.vendor_cloud.ionq_provider import CALIBRATION, IonQCloudTwin
from tests.vendor_cloud.iqm_provider import CALIBRATION as IQM_CALIBRATION
from tests.vendor_cloud.iqm_provider import IQMCloud
from tests.vendor_cloud.provider import CLASSES, URL, install
from tests.vendor_cloud.rigetti_provider import MACHINE, MICROSECONDS, RigettiCloud

PATIENCE: Final = 120.0
TOKEN: Final = "token-of-the-lab"
#: `x` on the second of four qubits, into registers of unequal size: a reversal of all bits, of those of a register, or
#: of the registers gives another result.
ASYMMETRIC: Final = """OPENQASM 2.0; include "qelib1.inc";
qreg q[4]; creg a[1]; creg b[3];
x q[1]; measure q[0] -> a[0]; measure q[1] -> b[0]; measure q[2] -> b[1]; measure q[3] -> b[2];
"""
#: Fast polls, and the shortest times after which a submission is looked up.
TERMS: Final[dict[str, Any]] = {
    "submit_seconds": 3.0,
    "grace_seconds": 0.2,
    "call_seconds": 3.0,
    "recovery_seconds": 600.0,
    "CLOUD_TAG": {"recovery_seconds": 3.0},
    # IBM's SDK reads the machine and compiles before it submits.
    "IBM_CLOUD": {"submit_seconds": 8.0, "call_seconds": 5.0, "recovery_seconds": 3.0},
    "IONQ_CLOUD": {"recovery_seconds": 3.0},
    # Google's too. With one call at a time, one process imports it.
    "GOOGLE_CLOUD": {"submit_seconds": 8.0, "call_seconds": 5.0, "calls": 1},
    # The first call of a process makes the clients of Amazon's SDK.
    "AWS_CLOUD": {"submit_seconds": 6.0, "call_seconds": 5.0},
    # Compilation and translation are calls too. With one call at a time, one process imports pyQuil.
    "RIGETTI_CLOUD": {"submit_seconds": 8.0, "call_seconds": 5.0, "calls": 1},
    # Also the first submission loads Qiskit's compiler. With one call at a time, one process imports IQM's client.
    "IQM_CLOUD": {"submit_seconds": 8.0, "call_seconds": 5.0, "calls": 1},
    "poll_seconds": 0.05,
    "max_poll_seconds": 0.2,
}


@dataclass(frozen=True)
class VendorKind:
    """A vendor of the contract.

    Attributes:
        service: the module of its service.
        classes: its providers.
        queued: its word for a job that waits.
        done: its word for a job that is done.
        unit: the unit of its costs; empty if they are not known.
        stated: the prices that the operator states.
        computed: whether it reports no costs, and the server computes them from its prices.
        fact: an entry of the metadata of its results.
        has_positions: whether it reports places in its queue.
        variables: returns the variables with which its SDK finds the service.
        credential: returns the credential with a token.
        circuits: the number of circuits of one job.
        codes: its codes for those of the cloud.
        device: the device of the tests.
        charges: whether it may charge for a job that failed.
        environment: the provider whose environment has its SDK; empty if it is in this one.
        listed: whether the vendor lists its devices for an account, and the provider does not describe them.
        price: the cost of a program with 10 shots.
        divided_price: that of four programs with 1,500 shots each.
        long: whether `make vendors` alone runs its tests.
    """

    service: str
    classes: tuple[type, ...]
    queued: str
    done: str
    unit: str
    fact: tuple[str, object]
    has_positions: bool
    variables: Callable[[FakeVendor], Mapping[str, str]]
    credential: Callable[[str], str] = field(default=lambda token: token)
    circuits: int = 3
    codes: Mapping[str, str] = field(default_factory=dict, hash=False)
    device: str = "machine"
    charges: bool = True
    environment: str = ""
    listed: bool = False
    stated: str = ""
    computed: bool = False
    price: float = PRICE
    divided_price: float = 8 * PRICE
    long: bool = False

    def code(self, code: str) -> str:
        """Return the vendor's code for one of the cloud's."""
        return self.codes.get(code, code)

    @property
    def python(self) -> str:
        """The Python of its SDK."""
        return environment_python(self.environment) if self.environment else sys.executable

    @property
    def names(self) -> list[str]:
        """The names of its providers."""
        return [each.name for each in self.classes]  # type: ignore[attr-defined]


CLOUD: Final = VendorKind(
    service="tests.vendor_cloud.fake_vendor",
    classes=CLASSES,
    queued="in line",
    done="complete",
    unit="EUR",
    fact=("vendor", "cloud"),
    has_positions=True,
    variables=lambda vendor: {URL: vendor.url},
)
IBM: Final = VendorKind(
    service="tests.vendor_cloud.ibm_service",
    classes=(IBMCloud,),
    queued="Queued",
    done="Completed",
    unit="IBM seconds",
    fact=("calibration_id", "calibration-7"),
    has_positions=False,
    variables=lambda vendor: dict.fromkeys(
        ("QONDUIT_IBM_URL", "IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"), vendor.url
    ),
    credential=lambda token: json.dumps({"apikey": token, "instance": INSTANCE}),
)
IONQ: Final = VendorKind(
    service="tests.vendor_cloud.ionq_service",
    classes=(IonQCloudTwin,),
    queued="ready",
    done="completed",
    unit="USD",
    fact=("calibration_id", CALIBRATION),
    has_positions=False,
    variables=lambda vendor: {URL_VARIABLE: f"{vendor.url}/v0.4"},
    circuits=1,
    codes={"E-7": "QuantumComputerError", "E-9": "QuantumComputerError"},
    device="forte_1",
    charges=False,
    environment="IONQ",
)
GOOGLE: Final = VendorKind(
    service="tests.vendor_cloud.google_service",
    classes=(GoogleCloud,),
    queued="READY",
    done="SUCCESS",
    unit="EUR",
    stated="unit=EUR; job=0.5; circuit=0.25; shot=0.125",
    computed=True,
    price=0.75 + 10 * 0.125,
    divided_price=8 * 0.75 + 6000 * 0.125,
    fact=("calibration_id", "1723795877"),
    has_positions=False,
    variables=lambda vendor: {
        "QONDUIT_GOOGLE_ENDPOINT": vendor.control()["endpoint"],
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": vendor.control()["roots"],
    },
    credential=lambda token: json.dumps({"project_id": PROJECT, "access_token": token}),
    circuits=1,
    codes={"E-1": "INVALID_ARGUMENT", "E-7": "SYSTEM_ERROR", "E-9": "SYSTEM_ERROR"},
    device="engine_machine",
    listed=True,
)
AWS: Final = VendorKind(
    service="tests.vendor_cloud.aws_service",
    classes=(AWSCloud,),
    queued="QUEUED",
    done="COMPLETED",
    unit="USD",
    fact=("counts_from", "measurements"),
    has_positions=True,
    variables=lambda vendor: dict.fromkeys(("BRAKET_ENDPOINT", "AWS_ENDPOINT_URL_S3"), vendor.url),
    credential=aws_credential,
    computed=True,
    price=round(TASK_FEE + 10 * SHOT, 6),
    divided_price=round(4 * (TASK_FEE + 1500 * SHOT), 6),
    codes={"E-7": "FAILED", "E-9": "DEVICE"},
    device="ionq_Forte-1",
    listed=True,
)
RIGETTI: Final = VendorKind(
    service="tests.vendor_cloud.rigetti_service",
    classes=(RigettiCloud,),
    queued="QUEUED",
    done="SUCCEEDED",
    unit="EUR",
    # The time of the machine is that which Rigetti reports.
    stated="unit=EUR; job=0.5; second=100; max_seconds=2",
    computed=True,
    price=round(0.5 + MICROSECONDS / 1e4, 6),
    divided_price=round(8 * (0.5 + MICROSECONDS / 1e4), 6),
    fact=("execution_us", MICROSECONDS),
    has_positions=False,
    variables=lambda vendor: {
        "QCS_SETTINGS_API_URL": vendor.url,
        "QONDUIT_RIGETTI_ISSUER": f"{vendor.url}/issuer",
        "QCS_SETTINGS_GRPC_URL": vendor.control()["grpc"],
        "QCS_SETTINGS_APPLICATIONS_QUILC_URL": vendor.control()["quilc"],
    },
    circuits=1,
    codes={"E-1": "INVALID_ARGUMENT", "E-7": "SERVICE_FAILURE", "E-9": "SERVICE_FAILURE"},
    device=MACHINE,
    environment="RIGETTI",
    listed=True,
    long=True,
)
IQM: Final = VendorKind(
    service="tests.vendor_cloud.iqm_service",
    classes=(IQMCloud,),
    queued="waiting",
    done="completed",
    unit="EUR",
    # A job runs for a second at the service.
    stated="unit=EUR; circuit=0.25; second=2; max_seconds=10",
    computed=True,
    price=2.25,
    divided_price=4 * 2 + 8 * 0.25,
    fact=("calibration_id", IQM_CALIBRATION),
    has_positions=True,
    variables=lambda vendor: {IQM_URL_VARIABLE: vendor.url},
    device="garnet",
    environment="IQM",
    listed=True,
    long=True,
)
#: The vendor of each provider.
KINDS: Final = {name: kind for kind in (CLOUD, IBM, IONQ, GOOGLE, AWS, RIGETTI, IQM) for name in kind.names}


@contextmanager
def connected(folder: Path, vendor: FakeVendor, kind: VendorKind, provider: str, **settings: str) -> Iterator[Client]:
    """Start a server with a provider, which knows no device at the vendor yet; yield a client.

    Args:
        folder: for its files.
        vendor: the service.
        kind: the vendor.
        provider: the name of the provider.
        settings: further settings of the server.
    """
    key_ring.create(folder / "keys", "first")
    with (
        serving(
            f"sqlite:///{folder / 'q.sqlite3'}",
            environment=dict(kind.variables(vendor)),
            providers=provider,
            preload=provider,
            workers="1",
            credential_key_file=str(folder / "keys"),
            **settings,
        ) as server,
        Client(server.target) as client,
    ):
        assert not [each for each in client.devices() if not each.is_local]
        yield client


@dataclass
class ServedVendor:
    """The vendor, a server, and a client."""

    kind: VendorKind
    vendor: FakeVendor
    server: Server
    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.jobs, self.results = JobServiceStub(self.channel), ResultServiceStub(self.channel)

    def request(
        self,
        provider: str,
        *texts: str,
        shots: int = 10,
        credential: str = TOKEN,
        device: str = "",
        **options: Any,
    ) -> calls.CreateJobRequest:
        device = f"{provider}/{device or self.kind.device}"
        request = calls.CreateJobRequest(job=Job(shots=shots, **options), device=device)
        if credential:
            request.credential = self.kind.credential(credential)
        for text in texts or (ASYMMETRIC,):
            language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
            request.deployment.programs.add(quantum_circuit=text, assembler_language=language)
        return request

    def list_devices(self) -> None:
        """Let the vendor list the devices of the account, unless the database has them."""
        devices = DeviceServiceStub(self.channel)
        known = devices.ListDevices(ListDevicesRequest(filter=f"name = {self.kind.device}"), timeout=PATIENCE)
        for name in () if known.devices else self.kind.names:
            self.refresh(name)

    def refresh(self, provider: str) -> dict[str, Device]:
        """Let the vendor list the devices of a provider; return them by their names."""
        found = ProviderServiceStub(self.channel).ListProviders(ListProvidersRequest(filter=f"name = {provider}"))
        request = RefreshDevicesRequest(provider_id=found.providers[0].id, credential=self.kind.credential(TOKEN))
        listed = DeviceServiceStub(self.channel).RefreshDevices(request, timeout=PATIENCE).devices
        return {device.name: device for device in listed}

    def create(self, provider: str, *texts: str, **options: Any) -> int:
        """Create a job; return its id."""
        return int(self.jobs.CreateJob(self.request(provider, *texts, **options), timeout=PATIENCE).job.id)

    def get(self, job_id: int) -> Job:
        job: Job = self.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=PATIENCE).job
        return job

    def events(self, job_id: int) -> Iterator[JobEvent]:
        """Yield the events of a job, until it ends."""
        for response in self.jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=PATIENCE):
            yield response.event

    def until(self, job_id: int, wanted: Any) -> Job:
        """Wait until an event of a job is as wanted; return the job."""
        for event in self.events(job_id):
            if wanted(event):
                return self.get(job_id)
        raise AssertionError(f"job {job_id} ended: {self.get(job_id)}")

    def at_vendor(self, job_id: int) -> Job:
        """Wait until the vendor has a job."""
        return self.until(job_id, lambda event: bool(event.provider_status.parts and event.provider_status.state))

    def end(self, job_id: int) -> Job:
        """Wait until a job ends; return it."""
        for _ in self.events(job_id):
            pass
        return self.get(job_id)

    def run(self, provider: str, *texts: str, **options: Any) -> Job:
        """Run a job to its end."""
        return self.end(self.create(provider, *texts, **options))

    def cost(self, job: Job) -> VendorCost:
        """Return the cost of a job, as the vendor reports it, or as the server computes it."""
        status = job.provider_status
        other, found = status.computed_cost, status.cost
        if self.kind.computed:
            other, found = found, other
        assert not other.unit
        return found

    def counts(self, job: Job) -> list[dict[str, int]]:
        """Return the counts of the results of a job, by program."""
        return [dict(result.counts_and_probabilities.counts) for result in self.list_results(job)]

    def list_results(self, job: Job) -> list[Result]:
        return list(self.results.ListResults(ListResultsRequest(job_id=job.id), timeout=PATIENCE).results)


@contextmanager
def behaving_well(served: ServedVendor) -> Iterator[ServedVendor]:
    """Yield a server whose vendor behaves well, at the beginning and afterwards."""
    served.vendor.control(**vars(Behavior()))
    yield served
    served.vendor.control(**vars(Behavior()))


def list_with_command(served: ServedVendor, provider: str) -> None:
    """Store a credential of a provider as "lab", and let its vendor list its devices, with the commands of users."""
    command = [sys.executable, "-m", "qonduit_client.cli", "--server", served.server.target]
    for arguments, secret in (
        (("credential", "create", "lab", "--provider", provider), TOKEN),
        (("devices", "--refresh", provider, "--credential", "lab"), ""),
    ):
        done = subprocess.run([*command, *arguments], input=secret, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr


@contextmanager
def served_vendor(
    folder: Path,
    *,
    kind: VendorKind = CLOUD,
    vendor: FakeVendor | None = None,
    database: str = "",
    environment: dict[str, str] | None = None,
    terms: dict[str, Any] | None = None,
    **settings: str,
) -> Iterator[ServedVendor]:
    """Start the vendor, unless it runs, and a server with its providers."""
    with ExitStack() as stack:
        vendor = vendor or stack.enter_context(fake_vendor(kind.service, kind.python))
        if not (folder / "keys").exists():
            key_ring.create(folder / "keys", "first")
        variables = install(folder / "packages", kind.classes, **TERMS | (terms or {})) | kind.variables(vendor)
        defaults = {"providers": ",".join(kind.names), "preload": kind.names[0], "workers": "2", "log_level": "debug"}
        defaults["vendor_prices"] = ",".join(f"{name}={kind.stated}" for name in kind.names if kind.stated)
        defaults["credential_key_file"] = str(folder / "keys")
        defaults["vendor_python"] = ",".join(f"{name}={kind.python}" for name in kind.names)
        server = stack.enter_context(
            serving(
                database or f"sqlite:///{folder / 'q.sqlite3'}",
                log=folder / "log.jsonl",
                environment=variables | (environment or {}),
                **defaults | settings,
            )
        )
        channel = stack.enter_context(grpc.insecure_channel(server.target))
        served = ServedVendor(kind, vendor, server, channel)
        if kind.listed:
            served.list_devices()
        yield served
