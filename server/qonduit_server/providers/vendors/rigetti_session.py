# SPDX-License-Identifier: Apache-2.0
"""The calls of Rigetti's QCS with pyQuil, except for the submission itself; see `rigetti_controller`.

The results of a job are named by the readouts of qubits, and the translation of its program decides to which bit of the
program each belongs. So the id of a job here contains the names of its readouts, in the order of the bits.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from itertools import takewhile
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit

import httpx
from google.protobuf.json_format import MessageToDict
from pyquil import Program
from pyquil.api import QPUCompiler
from pyquil.api._abstract_compiler import QuilcNotRunning, QuilcVersionMismatch
from pyquil.quantum_processor import QCSQuantumProcessor
from qcs_sdk.client import AuthServer, ClientCredentials, OAuthSession, QCSClient, RefreshToken
from qcs_sdk.compiler.quilc import QuilcError
from qcs_sdk.qpu import list_quantum_processors
from qcs_sdk.qpu.api import ExecutionOptionsBuilder, cancel_job, retrieve_results
from qcs_sdk.qpu.isa import get_instruction_set_architecture

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJob, VendorJobState
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.process.redaction import Redaction
from qonduit_server.providers.remote_provider import (
    CallRefused,
    CredentialRefused,
    Fetched,
    NotSent,
    VendorBusy,
    VendorError,
    vendor_outcome,
)
from qonduit_server.providers.vendors.http_answers import retry_after
from qonduit_server.providers.vendors.own_client import is_safe
from qonduit_server.providers.vendors.rigetti_access import Access, Endpoints
from qonduit_server.providers.vendors.rigetti_controller import Controller
from qonduit_server.providers.vendors.rigetti_devices import calibration, described_device, gateway

_Found = TypeVar("_Found")
_STATES: Final = {
    "": VendorJobState.VENDOR_JOB_STATE_MISSING,
    "SUCCEEDED": VendorJobState.VENDOR_JOB_STATE_DONE,
    "FAILED": VendorJobState.VENDOR_JOB_STATE_FAILED,
    "CANCELED": VendorJobState.VENDOR_JOB_STATE_CANCELLED,
}
#: Of quilc, and of each other step before the submission: Rigetti's client has no limits of its own, or repeats for
#: minutes. Their sum is less than the limit of a submission (`Rigetti.describe`).
_COMPILE_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 20.0
_CALL_SECONDS: Final = 30.0
#: An architecture, and the address of a gateway, are read again after these times.
_ISA_SECONDS: Final = 600.0
_GATEWAY_SECONDS: Final = 60.0
#: The largest name of a job and of its readouts, in bytes; the server stores at most 512.
_NAME_BYTES: Final = 500
_ID_BYTES: Final = 64
#: The forms of errors in the texts of Rigetti's client.
_GRPC: Final = re.compile(r'status: (\w+), message: "((?:[^"\\]|\\.)*)"')
_HTTP: Final = re.compile(r"\b([45]\d\d) [A-Z]")
_FAILURE: Final = re.compile(r"The submitted job failed with status: (\w+)\. (.*)", re.DOTALL)
#: What pyQuil and httpx raise; the classes of Rigetti's client are RuntimeError and ValueError.
_ERRORS: Final = (
    VendorError, httpx.HTTPError, RuntimeError, ValueError, TypeError, KeyError, OSError, QuilcNotRunning,
    QuilcVersionMismatch,
)  # fmt: skip
_REFUSALS: Final = frozenset((
    "InvalidArgument", "NotFound", "AlreadyExists", "FailedPrecondition", "OutOfRange", "Unimplemented",
))  # fmt: skip


class Place(NamedTuple):
    """A job: its processor, Rigetti's id, and the names of its readouts, which are empty if they are not known."""

    processor: str
    job: str
    readouts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the id of the job for the server: `PROCESSOR/JOB/READOUTS`."""
        names = _packed(self.readouts)
        return "/".join((quote(self.processor, ""), quote(self.job, ""), *([names] if names else [])))


class RigettiSession:
    """The calls with one credential; see `VendorSession`.

    Args:
        access: the credential.
        endpoints: the addresses.
        compile_seconds: the time limit of quilc.
        step_seconds: that of each other step before a submission.
    """

    def __init__(
        self,
        access: Access,
        endpoints: Endpoints,
        *,
        compile_seconds: float = _COMPILE_SECONDS,
        step_seconds: float = _STEP_SECONDS,
    ) -> None:
        self._access, self._endpoints = access, endpoints
        self._compile_seconds, self._step_seconds = compile_seconds, step_seconds
        self._oauth = self._session()
        self._processors: dict[str, tuple[QCSQuantumProcessor, float]] = {}
        self._gateways: dict[str, tuple[str, float]] = {}

    def submit(self, token: str, submission: Submission) -> VendorJob:
        """Compile and translate the program, and submit it once; see `VendorSession`."""
        (circuit,) = submission.circuits
        processor = submission.device
        with self._calling(sent=False):
            client = self._client()
            compiler = self._compiler(processor, client)
            program = Program(circuit.text).wrap_in_numshots_loop(submission.shots)
            native = _within(lambda: compiler.quil_to_native_quil(program), "quilc", self._compile_seconds)
            executable = self._step(lambda: compiler.native_quil_to_executable(native), "the translation")
            # Of the program's one memory region; the translation may add others.
            declared = executable.memory_descriptors
            names = {each.offset: name for each, name in executable.ro_sources.items() if each.name in declared}
            readouts = tuple(names.get(bit, "") for bit in sorted({bit for _, bit in _bits(submission)}))
            place = Place(processor, "", readouts)
            if not all(readouts) or len(str(place)) + _ID_BYTES > _NAME_BYTES:
                raise CallRefused(f"the translation names these readouts of the measured bits: {readouts!r:.400}")
            controller = Controller(self._gateway(processor), _CALL_SECONDS)
        with self._calling(), closing(controller):
            try:
                job = controller.submit(processor, executable.program, self._token())
            except VendorError as error:
                # With it, `qonduit resolve` adopts the job.
                error.message += f" (here, the id of the job is {place._replace(job='JOB')}, with Rigetti's for JOB)"
                raise
        return VendorJob(
            vendor_id=str(place._replace(job=job)), state=VendorJobState.VENDOR_JOB_STATE_ACTIVE, word="QUEUED"
        )

    def find(self, token: str, device: str) -> VendorJob | None:
        """Return nothing: Rigetti does not list jobs; see `VendorSession`."""
        return None

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        """Read the states of jobs, those of one processor at once; see `VendorSession`."""
        places = {vendor_id: _place(vendor_id) for vendor_id in vendor_ids}
        known = [place for place in places.values() if place.job]
        states: dict[Place, str] = {}
        failed: list[VendorError] = []
        for processor in sorted({place.processor for place in known}):
            own = [place for place in known if place.processor == processor]
            try:
                states |= zip(own, self._states(processor, own), strict=True)
            except VendorError as error:
                # A processor that is away does not stop the polls of the others.
                states |= dict.fromkeys(own, "UNKNOWN")
                failed.append(error)
        if failed and set(states.values()) == {"UNKNOWN"}:
            raise failed[0]
        return [self._found(vendor_id, place, states.get(place, "")) for vendor_id, place in places.items()]

    def _states(self, processor: str, places: Sequence[Place]) -> list[str]:
        with self._calling(), closing(Controller(self._gateway(processor), _CALL_SECONDS)) as controller:
            return controller.states(processor, [place.job for place in places], self._token())

    def _found(self, vendor_id: str, place: Place, word: str) -> VendorJob:
        state = _STATES.get(word, VendorJobState.VENDOR_JOB_STATE_ACTIVE)
        found = VendorJob(vendor_id=vendor_id, state=state, word=word or "missing")
        if state == VendorJobState.VENDOR_JOB_STATE_FAILED:
            # Rigetti charges for the time on the machine.
            found.may_be_charged = True
            try:
                self._results(place)
            except (VendorBusy, NotSent):
                raise
            except VendorError as error:
                found.error_code, found.error = error.code, error.message
        return found

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        """Read the results of a job; see `VendorSession`."""
        place, bits = _place(vendor_id), _bits(submission)
        results = self._results(place)
        us = results.execution_duration_microseconds
        buffers = {name: list(each.data.inner()) for name, each in results.buffers.items()}
        raw = json.dumps({"readouts": buffers, "us": us}, default=str).encode()
        columns = [buffers.get(name, []) for name in place.readouts]
        complete = len(columns) == len({bit for _, bit in bits})
        if not complete or not all(_is_readout(each, submission.shots) for each in columns):
            # Without an outcome, the server reads again, and fails at last with this response on record.
            return Fetched([], raw)
        counts = Counter(sum(row[bit] << clbit for clbit, bit in bits) for row in zip(*columns, strict=True))
        facts = {"sdk": "pyquil", "sdk_version": version("pyquil"), "processor": place.processor, "execution_us": us}
        return Fetched([vendor_outcome(counts, **facts)], raw, seconds=us and us / 1e6)

    def cancel(self, vendor_id: str) -> VendorJob:
        """Request the cancellation of a job that has not ended; see `VendorSession`."""
        (before,) = self.poll([vendor_id])
        place = _place(vendor_id)
        if before.state == VendorJobState.VENDOR_JOB_STATE_ACTIVE:
            with self._calling():
                cancel_job(place.job, place.processor, self._client(), _options())
        return before

    def devices(self) -> ProviderDescription:
        """Return the processors that QCS lists, with their architectures; see `VendorSession`."""
        described = ProviderDescription()
        with self._calling():
            client = self._client()
            for name in list_quantum_processors(client, self._step_seconds):
                isa = json.loads(get_instruction_set_architecture(name, client).json())
                described.devices.append(described_device(name, isa, self._accessors(name)))
                described.calibrations.add(device=name, calibration=calibration(isa))
        return described

    def _session(self, token: str | None = None) -> OAuthSession:
        """Return a session with an access token."""
        rigetti, access = AuthServer.default(), self._access
        grant = (
            RefreshToken(access.refresh_token)
            if access.refresh_token
            else ClientCredentials(access.client_id, access.client_secret)
        )
        server = AuthServer(access.client_id or rigetti.client_id, self._endpoints.issuer or rigetti.issuer)
        return OAuthSession(grant, server, token)

    def _token(self) -> str:
        """Return a valid access token."""
        try:
            return str(self._oauth.validate())
        except ValueError:
            token = str(self._step(self._oauth.request_access_token, "the issuer of tokens"))
            self._oauth = self._session(token)
            return token

    def _client(self) -> QCSClient:
        self._token()
        own = self._endpoints
        return QCSClient(
            oauth_session=self._oauth, api_url=own.api, grpc_api_url=own.grpc, quilc_url=own.quilc, qvm_url=own.api
        )

    def _compiler(self, processor: str, client: QCSClient) -> QPUCompiler:
        """Return pyQuil's compiler for a processor as it is now, or was some minutes ago."""
        _check_quilc(self._endpoints.quilc)
        known = self._processors.get(processor)
        if known is None or time.monotonic() - known[1] > _ISA_SECONDS:
            isa = self._step(lambda: get_instruction_set_architecture(processor, client), "the architecture")
            known = self._processors[processor] = QCSQuantumProcessor(processor, isa), time.monotonic()
        return QPUCompiler(
            quantum_processor_id=processor,
            quantum_processor=known[0],
            timeout=self._compile_seconds,
            client_configuration=client,
        )

    def _step(self, call: Callable[[], _Found], what: str) -> _Found:
        return _within(call, what, self._step_seconds)

    def _gateway(self, processor: str) -> str:
        """Return the address of the gateway of a processor. Raises NotSent: no gateway is available now."""
        known = self._gateways.get(processor)
        if known is None or time.monotonic() - known[1] > _GATEWAY_SECONDS:
            address = gateway(self._accessors(processor))
            if address is None:
                raise NotSent(f"QCS reports no gateway that is attached to {processor}")
            if not is_safe(address):
                raise CallRefused(f"the gateway of {processor} is no https URL: {address!r:.200}")
            known = self._gateways[processor] = address, time.monotonic()
        return known[0]

    def _accessors(self, processor: str) -> list[dict[str, Any]]:
        """Return the ways to reach a processor, which pyQuil does not return."""
        found: list[dict[str, Any]] = []
        parameters = {"pageSize": "100"}
        while True:
            answer = httpx.get(
                f"{self._endpoints.api}/v1/quantumProcessors/{quote(processor, '')}/accessors",
                params=parameters,
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=self._step_seconds,
            )
            answer.raise_for_status()
            found += answer.json()["accessors"]
            if not answer.json().get("nextPageToken"):
                return found
            parameters["pageToken"] = answer.json()["nextPageToken"]

    def _results(self, place: Place) -> Any:
        """Read the results of a job. Raises VendorError: also if the job failed."""
        with self._calling():
            return retrieve_results(place.job, place.processor, self._client(), _options())

    @contextmanager
    def _calling(self, *, sent: bool = True) -> Iterator[None]:
        """Raise the errors of calls as those of the server.

        Args:
            sent: whether a call may have changed something at the vendor.
        """
        try:
            yield
        except _ERRORS as error:
            found = _translated(error)
            if not sent and type(found) is VendorError:
                found = NotSent(found.message, code=found.code)
            found.message = _redacted(self._oauth, found.message)
            if isinstance(found, CredentialRefused):
                # The next call requests a new access token.
                self._oauth = self._session()
            raise found from None


def _translated(error: Exception) -> VendorError:
    """Return the error of the server for one of pyQuil or httpx."""
    if isinstance(error, VendorError):
        return error
    text = str(error)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return NotSent(f"QCS cannot be reached: {text}")
    if failed := _FAILURE.search(text):
        return CallRefused(failed[2], code=failed[1])
    if status := _GRPC.search(text):
        code, message = status[1], status[2]
        if code in ("Unauthenticated", "PermissionDenied"):
            return CredentialRefused(message, code=code)
        if code == "ResourceExhausted":
            return VendorBusy(message, code=code)
        return (CallRefused if code in _REFUSALS else VendorError)(message, code=code)
    if status := _HTTP.search(text):
        code = status[1]
        if code in ("401", "403") or (code == "400" and "/v1/token" in text):
            return CredentialRefused(f"QCS does not accept the credential ({text:.300})", code=code)
        if code == "429":
            return VendorBusy(text, code=code, retry_after=_retry_after(error))
        return (CallRefused if code in ("400", "404", "422") else VendorError)(text, code=code)
    if isinstance(error, QuilcError | QuilcVersionMismatch):
        return CallRefused(f"quilc: {text}", code="QUILC")
    if type(error).__module__.startswith("quil"):
        return CallRefused(f"no valid Quil: {text}", code="QUIL")
    return VendorError(f"{type(error).__name__}: {text}")


def _retry_after(error: Exception) -> float:
    """Return the seconds for which a response over HTTP asks to wait; 0 if it does not ask."""
    return retry_after(error.response.headers) if isinstance(error, httpx.HTTPStatusError) else 0.0


def _redacted(session: OAuthSession, text: str) -> str:
    """Remove the access token from a text of the vendor."""
    try:
        return Redaction(session.access_token).text(text)
    except ValueError:
        return text


def _within(call: Callable[[], _Found], what: str, seconds: float) -> _Found:
    """Make a call that changes nothing, with a time limit: after it, the call continues without effect.

    Raises:
        NotSent: the time is over.
    """
    found: list[_Found] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(call())
        except _ERRORS as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise NotSent(f"{what} did not answer in {seconds:.0f} s")
    return found[0]


def _check_quilc(url: str) -> None:
    """Raise NotSent if quilc does not run: its client would wait for it without end."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 5555), timeout=5.0).close()
    except OSError as error:
        raise NotSent(
            f"Rigetti's compiler quilc does not run at {url} ({error.strerror or error}): start it, or name its "
            "address in QCS_SETTINGS_APPLICATIONS_QUILC_URL"
        ) from error


def _options() -> Any:
    builder = ExecutionOptionsBuilder.default()
    builder.timeout_seconds = _CALL_SECONDS
    return builder.build()


def _bits(submission: Submission) -> list[tuple[int, int]]:
    """Return each classical bit of the circuit with its bit of the region, as `Rigetti.compile` wrote them."""
    (circuit,) = submission.circuits
    return [(int(clbit), int(bit)) for clbit, bit in MessageToDict(circuit.layout)["bits"]]


def _is_readout(values: Sequence[Any], shots: int) -> bool:
    return len(values) == shots and all(value in (0, 1) for value in values)


def _packed(readouts: Sequence[str]) -> str:
    """Return names in short: `q*:4,12` for q4 and q12."""
    if not readouts:
        return ""
    begin = _shared(readouts)
    rests = [name[len(begin) :] for name in readouts]
    end = _shared([rest[::-1] for rest in rests])[::-1]
    parts = [quote(rest[: len(rest) - len(end)], "") for rest in rests]
    return f"{quote(begin, '')}*{quote(end, '')}:{','.join(parts)}"


def _shared(names: Sequence[str]) -> str:
    """Return the characters with which all names begin; none for one name."""
    columns = takewhile(lambda each: len(set(each)) == 1, zip(*names, strict=False))
    return "".join(each[0] for each in columns) if len(names) > 1 else ""


def _place(vendor_id: str) -> Place:
    """Return the place of a job; without a job if it is no id of Rigetti's."""
    processor, _, rest = vendor_id.partition("/")
    job, _, names = rest.partition("/")
    ends, colon, parts = names.partition(":")
    begin, star, end = ends.partition("*")
    readouts = [f"{begin}{part}{end}" for part in parts.split(",")] if star and colon else []
    return Place(unquote(processor), unquote(job), tuple(map(unquote, readouts)))
