# SPDX-License-Identifier: Apache-2.0
"""Providers of another package for the vendor's cloud: one for each way in which vendors prevent double submissions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from qonduit.execution.v1.vendor_pb2 import (
    IDEMPOTENCY_CLIENT_ID,
    IDEMPOTENCY_CLIENT_TOKEN,
    IDEMPOTENCY_NOTHING,
    IDEMPOTENCY_TAG,
    Idempotency,
    NativeCircuit,
    Submission,
    VendorJob,
    VendorJobState,
    VendorTerms,
)
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_PROVIDER, Failure
from qonduit.v1.job_pb2 import JobType, VendorCost
from qonduit.v1.provider_pb2 import Provider
from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.remote_provider import (
    CallRefused,
    CredentialRefused,
    Fetched,
    NotSent,
    RemoteCircuit,
    SubmissionLimits,
    VendorBusy,
    VendorError,
    vendor_outcome,
)

#: Of a circuit.
PRICE: Final = 0.25
#: The variable with the URL of the service.
URL: Final = "VENDOR_CLOUD_URL"
#: The variable with the fields of `VendorTerms`, and further ones by provider, as JSON.
TERMS: Final = "VENDOR_CLOUD_TERMS"
QUBITS: Final = 5
_STATES: Final = {
    "in line": VendorJobState.VENDOR_JOB_STATE_ACTIVE,
    "complete": VendorJobState.VENDOR_JOB_STATE_DONE,
    "failed": VendorJobState.VENDOR_JOB_STATE_FAILED,
    "cancelled": VendorJobState.VENDOR_JOB_STATE_CANCELLED,
}


class VendorCloud:
    """The devices of the vendor's cloud."""

    name: ClassVar[str]
    idempotency: ClassVar[Idempotency]
    distributions: Final = ("qiskit",)

    def describe(self) -> ProviderDescription:
        terms = VendorTerms(idempotency=self.idempotency, **stated_terms(self.name))
        provider = Provider(name=self.name, with_token=True)
        return ProviderDescription(provider=provider, devices=[_device("machine", QUBITS)], vendor=terms)

    def load(self) -> None:
        import qiskit  # noqa: F401

    def price(self, submission: Submission) -> VendorCost:
        return VendorCost(amount=PRICE * len(submission.circuits), unit="EUR")

    def limits(self, device: str) -> SubmissionLimits:
        return SubmissionLimits(circuits=3, shots=1000, bytes=100_000)

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        from qiskit import transpile

        native = transpile(circuit.quantum, basis_gates=["rz", "sx", "x", "cx"], optimization_level=0)
        if native.num_qubits > QUBITS:
            raise DeviceError("TOO_MANY_QUBITS", f"{device} has {QUBITS} qubits, got {native.num_qubits}")
        gates: list[Any] = []
        measured: dict[int, int] = {}
        for step in native.data:
            qubits = [native.find_bit(qubit).index for qubit in step.qubits]
            if step.operation.name == "measure":
                measured[native.find_bit(step.clbits[0]).index] = qubits[0]
            elif step.operation.name != "barrier":
                gates.append([step.operation.name, qubits, [float(angle) for angle in step.operation.params]])
        text = {"qubits": native.num_qubits, "gates": gates, "measured": list(measured.values())}
        found = NativeCircuit(text=json.dumps(text))
        found.layout.update({"bits": list(measured)})
        return RemoteCircuit(found, native.num_qubits)

    def connect(self, credential: str) -> Session:
        return Session(os.environ[URL], credential, self.idempotency)


class ByClientId(VendorCloud):
    """The client chooses the id."""

    name = "CLOUD_ID"
    idempotency = IDEMPOTENCY_CLIENT_ID


class ByToken(VendorCloud):
    """A submission has a token."""

    name = "CLOUD_TOKEN"
    idempotency = IDEMPOTENCY_CLIENT_TOKEN


class ByTag(VendorCloud):
    """A submission has a tag. Its prices are not known."""

    name = "CLOUD_TAG"
    idempotency = IDEMPOTENCY_TAG
    price = None  # type: ignore[assignment]


class ByNothing(VendorCloud):
    """A submission has nothing by which it could be recognized."""

    name = "CLOUD_NOTHING"
    idempotency = IDEMPOTENCY_NOTHING


CLASSES: Final = (ByClientId, ByToken, ByTag, ByNothing)
NAMES: Final = tuple(each.name for each in CLASSES)


class Session:
    """The calls of the vendor, by HTTP."""

    def __init__(self, url: str, credential: str, idempotency: Idempotency) -> None:
        self._address = urlsplit(url)
        self._credential = credential
        self._idempotency = idempotency

    def submit(self, token: str, submission: Submission) -> VendorJob:
        body = {
            "mark": token if self._idempotency != IDEMPOTENCY_NOTHING else "",
            "once": self._idempotency in (IDEMPOTENCY_CLIENT_ID, IDEMPOTENCY_CLIENT_TOKEN),
            "own_id": self._idempotency == IDEMPOTENCY_CLIENT_ID,
            "device": submission.device,
            "shots": submission.shots,
            "circuits": [json.loads(circuit.text) for circuit in submission.circuits],
        }
        return _job(self._call("/jobs", body))

    def find(self, token: str, device: str) -> VendorJob | None:
        found = self._call("/jobs/find", {"mark": token})
        return _job(found[0]) if found else None

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        return [_job(each) for each in self._call("/jobs/poll", {"ids": list(vendor_ids)})]

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        found = self._call(f"/jobs/{vendor_id}/results", {})
        outcomes = []
        for circuit, answer in zip(submission.circuits, found, strict=True):
            if "error" in answer:
                outcome = vendor_outcome({})
                outcome.failure.CopyFrom(
                    Failure(
                        category=FAILURE_CATEGORY_PROVIDER,
                        reason="VENDOR_FAILED",
                        message=answer["error"],
                        provider_code=answer["code"],
                    )
                )
            else:
                bits = [int(bit) for bit in circuit.layout["bits"]]
                counts: dict[int, int] = {}
                for text, count in answer["counts"].items():
                    key = sum(1 << bit for bit, value in zip(bits, text, strict=True) if value == "1")
                    counts[key] = counts.get(key, 0) + count
                outcome = vendor_outcome(counts, vendor="cloud")
            outcomes.append(outcome)
        return Fetched(outcomes, json.dumps(found).encode())

    def cancel(self, vendor_id: str) -> VendorJob:
        return _job(self._call(f"/jobs/{vendor_id}/cancel", {}))

    def devices(self) -> ProviderDescription:
        found = self._call("/devices/list", {})
        return ProviderDescription(devices=[_device(each["name"], each["qubits"]) for each in found])

    def _call(self, path: str, body: Any) -> Any:
        assert self._address.hostname is not None
        connection = HTTPConnection(self._address.hostname, self._address.port or 80)
        try:
            connection.connect()
        except OSError as error:
            raise NotSent(f"the cloud cannot be reached: {error}") from error
        try:
            connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {self._credential}"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise VendorError(f"no answer: {type(error).__name__}") from error
        finally:
            connection.close()
        if response.status == 401:
            raise CredentialRefused(answer["error"], code="401")
        if response.status == 429:
            raise VendorBusy(answer["error"], code="429", retry_after=float(response.headers["Retry-After"]))
        if response.status >= 500:
            raise VendorError(answer["error"], code=str(response.status))
        if response.status >= 400:
            raise CallRefused(answer["error"], code=answer.get("code", str(response.status)))
        return answer


def _device(name: str, qubits: int) -> Device:
    capabilities = DeviceCapabilities(
        job_types=[JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR]
    )
    return Device(
        name=name,
        num_qubits=qubits,
        is_simulator=False,
        is_local=False,
        available=True,
        max_shots=10_000,
        capabilities=capabilities,
        basis_gates=["rz", "sx", "x", "cx"],
    )


def _job(answer: dict[str, Any]) -> VendorJob:
    if "state" not in answer:
        return VendorJob(vendor_id=answer["id"], state=VendorJobState.VENDOR_JOB_STATE_MISSING, word="missing")
    found = VendorJob(vendor_id=answer["id"], state=_STATES[answer["state"]], word=answer["state"])
    if "position" in answer:
        found.queue_position = answer["position"]
    if "price" in answer:
        found.cost, found.cost_unit = answer["price"], "EUR"
    found.error, found.error_code = answer.get("error", ""), answer.get("code", "")
    found.may_be_charged = answer.get("charged", False)
    return found


def stated_terms(name: str) -> dict[str, Any]:
    """Return the terms of a provider that the environment states."""
    stated = json.loads(os.environ.get(TERMS, "{}"))
    shared = {key: value for key, value in stated.items() if not isinstance(value, dict)}
    return shared | stated.get(name, {})


def with_stated_terms(description: ProviderDescription) -> ProviderDescription:
    """Return the description of a vendor, with the terms that the environment states."""
    description.vendor.MergeFrom(VendorTerms(**stated_terms(description.provider.name)))
    return description


def install(folder: Path, classes: Iterable[type], **terms: Any) -> dict[str, str]:
    """Install providers as a distribution in a folder; return the variables with which processes find them.

    Args:
        folder: of packages.
        classes: of the providers, which have their names.
        terms: see `TERMS`.
    """
    metadata = folder / "vendor_cloud-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: vendor-cloud\nVersion: 1.0\n")
    entries = "".join(f"{each.name} = {each.__module__}:{each.__name__}\n" for each in classes)  # type: ignore[attr-defined]
    metadata.joinpath("entry_points.txt").write_text(f"[qonduit.remote_providers]\n{entries}")
    path = os.pathsep.join((str(folder), str(Path(__file__).resolve().parents[2])))
    return {"PYTHONPATH": path, TERMS: json.dumps(terms)}
