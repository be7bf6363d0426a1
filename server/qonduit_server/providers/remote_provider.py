# SPDX-License-Identifier: Apache-2.0
"""The remote provider protocol: the interface to a vendor whose machines run jobs for minutes or days.

A remote provider has two halves. The first compiles circuits to the vendor's form, in a worker, as simulators do. The
second is a session with the vendor: its calls run in processes of their own, each with a deadline, and no worker waits
for them. The server decides when to call what (`execution/remote`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from qonduit.execution.v1.vendor_pb2 import (
    NativeCircuit,
    Submission,
    VendorErrorKind,
    VendorJob,
    VendorOutcome,
    VendorTerms,
)
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.job_pb2 import VendorCost
from qonduit.v1.provider_pb2 import Provider
from qonduit_client.distribution import with_extras
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompileOptions, installed_version


@dataclass(frozen=True)
class SubmissionLimits:
    """What one job at the vendor may contain; larger calls are divided.

    Args:
        circuits: the number of circuits.
        shots: the shots of each circuit.
        bytes: the size of all circuits; a larger single circuit is refused.
        all_shots: the shots of all circuits together; 0 if they are not limited.
        min_all_shots: the minimum of the shots of all circuits, of a job with several.
    """

    circuits: int
    shots: int
    bytes: int
    all_shots: int = 0
    min_all_shots: int = 0


@dataclass(frozen=True)
class RemoteCircuit:
    """A circuit in the vendor's form, and the number of its qubits on the device."""

    native: NativeCircuit
    qubits: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fetched:
    """The results of a job: one outcome for each circuit of its submission, and the vendor's response as it is.

    `cost` is that of the job, and `seconds` the time of the machine, if the vendor's states of jobs do not contain
    them.
    """

    outcomes: Sequence[VendorOutcome]
    raw: bytes
    cost: VendorCost | None = None
    seconds: float | None = None


class VendorError(Exception):
    """A call failed, and it is not known what it changed; the subclasses are raised if nothing has changed.

    Any other exception of a session is treated in the same way.

    Args:
        message: the vendor's text.
        code: the vendor's code.
        retry_after: the seconds for which the vendor asks to wait; 0 if it does not ask.
    """

    kind = VendorErrorKind.VENDOR_ERROR_KIND_UNSPECIFIED

    def __init__(self, message: str, *, code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry_after = retry_after


class CallRefused(VendorError):
    """The vendor refused the call: the same call would be refused again."""

    kind = VendorErrorKind.VENDOR_ERROR_KIND_REFUSED


class CredentialRefused(VendorError):
    """The credential is wrong, or has expired."""

    kind = VendorErrorKind.VENDOR_ERROR_KIND_CREDENTIAL


class VendorBusy(VendorError):
    """The vendor accepts no calls now, as with the status 429."""

    kind = VendorErrorKind.VENDOR_ERROR_KIND_BUSY


class NotSent(VendorError):
    """The vendor could not be reached. Only for failures before the first byte of the request was sent."""

    kind = VendorErrorKind.VENDOR_ERROR_KIND_NOT_SENT


class VendorSession(Protocol):
    """The calls of one vendor with one credential. Each runs alone in its process, and may be killed at any time.

    A session makes each call once: retries of an SDK must be switched off, because they could submit a job twice.

    If accounts have different devices, a session also has a method `devices() -> ProviderDescription`, which returns
    the devices and calibrations of its account. RefreshDevices with a credential calls it.
    """

    def submit(self, token: str, submission: Submission) -> VendorJob:
        """Submit a job with the id, token or tag of the server; return its id and first state."""

    def find(self, token: str, device: str) -> VendorJob | None:
        """Return the job that was submitted with a tag; None if the vendor's list does not contain it.

        Called for vendors with IDEMPOTENCY_TAG only.
        """

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        """Return the states of jobs, in the order of the ids."""

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        """Return the results of a job that is done; in keys, bit k is classical bit k of the IR circuit."""

    def cancel(self, vendor_id: str) -> VendorJob:
        """Request the cancellation of a job; return its state. Raises CallRefused if the vendor refuses."""


@runtime_checkable
class GroupingSession(Protocol):
    """What a session also has if its vendor has batches or sessions (`Device.capabilities.vendor_modes`)."""

    def open_group(self, submission: Submission) -> VendorJob:
        """Open the batch or the session of a mode, which the vendor ends after `group_seconds`; return its id."""

    def submit_to_group(self, token: str, submission: Submission, group_id: str) -> VendorJob:
        """Submit a job to a batch or a session; see `VendorSession.submit`."""

    def close_group(self, group_id: str) -> VendorJob:
        """Close a batch or a session, so that it ends after its jobs; return its state, and its cost once it is DONE.

        One that was closed before is closed again without further effect.
        """


@runtime_checkable
class EstimatingSession(Protocol):
    """What a session also has if its vendor estimates costs (`VendorTerms.estimates_costs`)."""

    def estimate(self, submissions: Sequence[Submission]) -> Sequence[VendorCost]:
        """Ask the vendor for the cost of each submission, with the unit of `VendorJob.cost`."""


class RemoteProvider(Protocol):
    """The devices of one vendor. An instance lives in a worker or in a process that calls the vendor.

    `Device.price` contains the prices of a device, if they are amounts for a job, a circuit, a shot and the time. A
    provider with other prices has `price(submission: Submission) -> VendorCost | None`, without network: an estimate
    that the vendor's charge does not exceed, with the unit of `VendorJob.cost`. If the vendor charges by time, and
    limits it, `most_seconds(submission: Submission) -> float` returns the limit. Limits of costs add what has the same
    unit, so the name of a vendor's own credits contains the vendor. Prices that the operator states precede all of
    these. Without prices, the server refuses the jobs whose cost is limited.
    """

    @property
    def name(self) -> str:
        """The first half of "PROVIDER/device"."""

    def describe(self) -> ProviderDescription:
        """Describe the devices that exist for all accounts, without network and without importing the SDK.

        Sets `vendor`, and `is_local` to False.

        What `vendor` leaves at 0 has the defaults of `execution/remote/terms.py`.
        """

    def load(self) -> None:
        """Import what `compile` needs. Idempotent. Raises ProviderError: what to install."""

    def limits(self, device: str) -> SubmissionLimits:
        """Return the limits of one job at the vendor."""

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        """Compile a circuit for a device. It must be deterministic: the same circuit gives the same bytes.

        Raises:
            DeviceError: the device cannot run the circuit; the message names the construct.
        """

    def connect(self, credential: str) -> VendorSession:
        """Import the vendor's SDK and return a session. It makes no call of the vendor."""


def vendor_description(name: str, terms: VendorTerms, package: str = "", extra: str = "") -> ProviderDescription:
    """Describe a vendor whose devices an account decides, without devices.

    Args:
        name: the name of the provider.
        terms: its terms.
        package: its SDK, which the environment needs, if it is not installed apart.
        extra: the extra of the distribution that installs it.
    """
    missing = "" if not package or installed_version(package) else f"install {with_extras(extra)}"
    return ProviderDescription(provider=Provider(name=name, with_token=True), unavailable=missing, vendor=terms)


def vendor_outcome(counts: dict[int, int], **meta_data: object) -> VendorOutcome:
    """Return an outcome with counts: bit k of a key is classical bit k of the IR circuit."""
    outcome = VendorOutcome(counts=list(counts.values()))
    outcome.keys.extend(key.to_bytes((key.bit_length() + 7) // 8 or 1, "little") for key in counts)
    outcome.meta_data.update(meta_data)  # type: ignore[arg-type]  # JSON values
    return outcome
