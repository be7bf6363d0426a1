# SPDX-License-Identifier: Apache-2.0
"""The calls of IonQ's API v0.4, by IonQ's client (the package ionq-core), without its retries.

Requests are built from the client's models. Of the responses only the fields that are used here are read, so that a new
field or a new word for a state does not stop the polls of jobs.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from google.protobuf.json_format import MessageToDict

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJob, VendorJobState, VendorOutcome
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.job_pb2 import VendorCost
from qonduit_server.providers.remote_provider import (
    CallRefused,
    CredentialRefused,
    Fetched,
    NotSent,
    VendorBusy,
    VendorError,
    vendor_outcome,
)
from qonduit_server.providers.vendors.http_answers import REFUSALS
from qonduit_server.providers.vendors.ionq_devices import Backend, backend_of, listed_devices

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

#: The key of the metadata of a job that contains the tag of its submission.
_TAG: Final = "qonduit"
#: The number of pages of the list that a look-up by tag reads, and of jobs of a page.
_PAGES: Final = 20
_PAGE: Final = 100
#: Results with the counts that the machine measured, keyed by decimal numbers. The order of the bits in the newer
#: formats is not documented.
_HISTOGRAM: Final = "ionq.result.histogram.json.v1"
_STATES: Final = {
    "completed": VendorJobState.VENDOR_JOB_STATE_DONE,
    "failed": VendorJobState.VENDOR_JOB_STATE_FAILED,
    "canceled": VendorJobState.VENDOR_JOB_STATE_CANCELLED,
}
#: By how much probabilities may differ from a sum of 1, and shots from whole numbers.
_TOLERANCE: Final = 1e-3
#: The length of the name of a currency.
_CURRENCY: Final = 3
_DECIMAL: Final = re.compile(r"[0-9]{1,400}")


class _Unreadable(Exception):
    """The results are not those of the circuit."""


class _Counts(NamedTuple):
    """Counts by IonQ's numbers, and their origin.

    Attributes:
        by_number: bit k of a number is qubit k.
        origin: "vendor" if IonQ measured them, "drawn" if they were drawn here from exact probabilities, "rounded" if
            they are probabilities times shots, rounded here to whole numbers.
        seed: of the draw.
    """

    by_number: Mapping[int, int]
    origin: str
    seed: int | None = None


class IonQCloud:
    """A session with one API key; see `VendorSession`.

    Args:
        api_key: the key.
        url: of the API; None for IonQ's own.
    """

    def __init__(self, api_key: str, url: str | None) -> None:
        import ionq_core
        from ionq_core.models import CircuitJobCreationPayload

        # All imports are made before the first call.
        self._payload = CircuitJobCreationPayload
        self._errors = ionq_core
        options = {"base_url": url} if url else {}
        self._client = ionq_core.IonQClient(api_key=api_key, max_retries=0, **options).get_httpx_client()

    def submit(self, token: str, submission: Submission) -> VendorJob:
        """Submit the circuit of a submission, with its tag in the metadata of the job."""
        return _job(self._call("POST", "/jobs", json=self._body(token, submission)))

    def _body(self, token: str, submission: Submission) -> dict[str, Any]:
        """Return the body of a submission in the form of IonQ's model."""
        (circuit,) = submission.circuits
        backend = backend_of(submission.device)
        body = {
            "type": "ionq.circuit.v1",
            # Shown in the list of jobs of IonQ's console.
            "name": f"qonduit {token}",
            "metadata": {_TAG: token},
            "backend": backend.target,
            "shots": submission.shots,
            # Without mitigation, the results are frequencies of the shots.
            "settings": {"error_mitigation": {"debiasing": False}},
            "input": json.loads(circuit.text),
        }
        if backend.noise:
            body["noise"] = {"model": backend.noise, "seed": _seed(token) % 2**31}
        try:
            checked: dict[str, Any] = self._payload.from_dict(body).to_dict()
        except (KeyError, TypeError, ValueError) as error:
            raise CallRefused(f"the circuit is not one of IonQ's API: {error}", code="InvalidInput") from error
        return checked

    def estimate(self, submissions: Sequence[Submission]) -> Sequence[VendorCost]:
        """Ask for the cost of each submission, by the prices of the account; equal questions are asked once."""
        known: dict[tuple[tuple[str, Any], ...], VendorCost] = {}
        found = []
        for submission in submissions:
            backend = backend_of(submission.device)
            if backend.noise:
                # IonQ's simulators are free.
                found.append(VendorCost(unit=cost_unit("usd")))
                continue
            (circuit,) = submission.circuits
            asked = {"backend": backend.target, **_size(circuit.text), "shots": submission.shots}
            key = tuple(asked.items())
            if key not in known:
                known[key] = _estimated(self._call("GET", "/jobs/estimate", params=asked))
            found.append(known[key])
        return found

    def find(self, token: str, device: str) -> VendorJob | None:
        """Look for the tag in the list of the jobs of a backend."""
        parameters: dict[str, Any] = {"target": backend_of(device).target, "limit": _PAGE}
        for job in self._list(parameters, _PAGES):
            if (job.get("metadata") or {}).get(_TAG) == token:
                return _job(job)
        return None

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        """Read the states of jobs with one request, and the costs of those that have ended with one each."""
        parameters = {"ids": list(vendor_ids), "limit": len(vendor_ids)}
        listed = {str(job.get("id")): job for job in self._list(parameters, len(vendor_ids))}
        found = []
        for vendor_id in vendor_ids:
            if vendor_id not in listed:
                missing = VendorJobState.VENDOR_JOB_STATE_MISSING
                found.append(VendorJob(vendor_id=vendor_id, state=missing, word="missing"))
                continue
            job = _job(listed[vendor_id])
            if job.state == VendorJobState.VENDOR_JOB_STATE_DONE:
                self._add_cost(job)
            found.append(job)
        return found

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        """Read the results of a job, and the characterization of its machine."""
        backend = backend_of(submission.device)
        job = self._call("GET", f"/jobs/{quote(vendor_id, '')}")
        raw: dict[str, Any] = {"job": job}
        histogram = (job.get("results") or {}).get(_HISTOGRAM)
        if histogram:
            raw["histogram"] = self._call(
                "GET", f"/jobs/{quote(vendor_id, '')}/artifacts/{quote(str(histogram['id']), '')}"
            )
        else:
            raw["probabilities"] = self._call("GET", f"/jobs/{quote(vendor_id, '')}/results/probabilities")
        if not backend.noise:
            raw["characterization"] = self._characterization(backend.target, {"end": job.get("completed_at")})
        (circuit,) = submission.circuits
        try:
            places = [(int(clbit), int(place)) for clbit, place in MessageToDict(circuit.layout)["places"]]
            qubits = json.loads(circuit.text)["qubits"]
            counts = _counts(raw, qubits, submission.shots, backend, vendor_id)
            outcomes = [_outcome(counts, places, raw)]
        except _Unreadable:
            outcomes = []
        return Fetched(outcomes, json.dumps(raw).encode())

    def cancel(self, vendor_id: str) -> VendorJob:
        """Cancel a job. IonQ answers in the same way for a job that has ended, so its state is read before."""
        (before,) = self.poll([vendor_id])
        if before.state == VendorJobState.VENDOR_JOB_STATE_ACTIVE:
            self._call("PUT", f"/jobs/{quote(vendor_id, '')}/status/cancel")
        return before

    def devices(self) -> ProviderDescription:
        """Return the devices as they are now, with the latest characterizations of the machines."""
        listed = self._call("GET", "/backends")
        latest = {}
        for target in [str(each["backend"]) for each in listed if each.get("characterization_id")]:
            if found := self._characterization(target, {}):
                latest[target] = found
        return listed_devices(listed, latest)

    def _list(self, parameters: Mapping[str, Any], pages: int) -> Iterator[dict[str, Any]]:
        """Yield jobs of the list, page by page."""
        following = dict(parameters)
        for _ in range(pages):
            answer = self._call("GET", "/jobs", params=following)
            yield from answer["jobs"]
            if not answer.get("next"):
                return
            following["next"] = answer["next"]

    def _add_cost(self, job: VendorJob) -> None:
        """Add the cost of a job, if IonQ reports it: a job ends without it too."""
        with suppress(VendorError, KeyError, TypeError, ValueError):
            cost = self._call("GET", f"/jobs/{quote(job.vendor_id, '')}/cost")["cost"]
            job.cost, job.cost_unit = float(cost["value"]), cost_unit(str(cost["unit"]))

    def _characterization(self, target: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the last characterization of a machine, before a time if `end` is set; nothing if IonQ has none."""
        with suppress(VendorError, KeyError, IndexError, TypeError):
            path = f"/backends/{quote(target, '')}/characterizations"
            found: dict[str, Any] = self._call("GET", path, params={**parameters, "limit": 1})["characterizations"][0]
            return found
        return {}

    def _call(self, method: str, path: str, **content: Any) -> Any:
        """Make one request, and return the JSON of its response."""
        from httpx import ConnectError, ConnectTimeout, HTTPError

        errors = self._errors
        try:
            # No connection is kept: the other side could close it in the moment of a submission.
            return self._client.request(method, path, headers={"Connection": "close"}, **content).json()
        except errors.APIConnectionError as error:
            kind = NotSent if isinstance(error.__cause__, ConnectError | ConnectTimeout) else VendorError
            raise kind(f"no answer of IonQ: {error}") from error
        except errors.AuthenticationError as error:
            raise CredentialRefused(f"IonQ does not accept the API key: {error.message}", code="401") from error
        except errors.PermissionDeniedError as error:
            raise CredentialRefused(f"the API key does not permit this: {error.message}", code="403") from error
        except errors.RateLimitError as error:
            raise VendorBusy(error.message, code="429", retry_after=error.retry_after or 0.0) from error
        except errors.ServerError as error:
            raise VendorError(f"{error.status_code}: {error.message}", code=str(error.status_code)) from error
        except errors.APIError as error:
            kind = CallRefused if error.status_code in REFUSALS else VendorError
            raise kind(error.message, code=_code(error)) from error
        except (HTTPError, ValueError) as error:
            raise VendorError(f"the answer of IonQ is not complete: {type(error).__name__}") from error


def cost_unit(unit: str) -> str:
    """Return the unit of an amount of IonQ: currencies as elsewhere, and IonQ's own credits with its name."""
    return unit.upper() if len(unit) == _CURRENCY else f"IonQ {unit.lower()}"


def _size(text: str) -> dict[str, Any]:
    """Return the parameters of an estimate that concern the circuit. IonQ makes a swap of three gates."""
    circuit = json.loads(text)
    counts = {"1q_gates": 0, "2q_gates": 0}
    for gate in circuit["circuit"]:
        single = "target" in gate and "control" not in gate and "controls" not in gate
        counts["1q_gates" if single else "2q_gates"] += 3 if gate["gate"] == "swap" else 1
    return {"type": "ionq.circuit.v1", "qubits": circuit["qubits"], **counts, "error_mitigation": "false"}


def _estimated(answer: Any) -> VendorCost:
    """Return the cost of an estimate. IonQ's documentation has two forms of it."""
    for amount, unit in (("estimated_total_cost", "estimated_unit"), ("estimated_cost", "cost_unit")):
        with suppress(KeyError, TypeError, ValueError):
            if math.isfinite(value := float(answer[amount])) and value >= 0:
                return VendorCost(amount=value, unit=cost_unit(str(answer[unit])))
    raise VendorError("the answer of IonQ contains no estimated cost")


def _code(error: Any) -> str:
    """Return IonQ's name of an error."""
    name = error.body.get("error") if isinstance(error.body, dict) else None
    return name if isinstance(name, str) else str(error.status_code)


def _job(answer: Mapping[str, Any]) -> VendorJob:
    """Return what IonQ reports about a job. A word for a state that is not known here does not end a job."""
    word = str(answer.get("status", ""))
    state = _STATES.get(word, VendorJobState.VENDOR_JOB_STATE_ACTIVE)
    found = VendorJob(vendor_id=str(answer["id"]), state=state, word=word)
    failure = answer.get("failure") or {}
    # IonQ releases the credit of jobs that failed or were cancelled.
    found.error, found.error_code = str(failure.get("message", "")), str(failure.get("code", ""))
    _set_time(found.started_at, answer.get("started_at"))
    wait = answer.get("predicted_wait_time_ms")
    if state == VendorJobState.VENDOR_JOB_STATE_ACTIVE and not answer.get("started_at") and isinstance(wait, int):
        _set_time(found.estimated_start, answer.get("submitted_at"), timedelta(milliseconds=wait))
    return found


def _set_time(field: Timestamp, text: Any, later: timedelta = timedelta(0)) -> None:
    """Set a time from IonQ's text, if it is one."""
    with suppress(TypeError, ValueError, OverflowError):
        field.FromDatetime(datetime.fromisoformat(text).astimezone(UTC) + later)


def _counts(raw: Mapping[str, Any], qubits: int, shots: int, backend: Backend, vendor_id: str) -> _Counts:
    """Return the counts of a job of IonQ. Raises _Unreadable: the results have other numbers of qubits or shots."""
    if "histogram" in raw:
        counts = {number: round(each) for number, each in _by_number(raw["histogram"], qubits).items()}
        if sum(counts.values()) != shots:
            raise _Unreadable
        return _Counts(counts, "vendor")
    probabilities = _by_number(raw["probabilities"], qubits)
    total = sum(probabilities.values())
    if abs(total - 1) > _TOLERANCE:
        raise _Unreadable
    if backend.exact:
        # From the job's id, so that a repeated read returns the same counts.
        seed = _seed(vendor_id)
        numbers = sorted(probabilities)
        drawn = random.Random(seed).choices(numbers, [probabilities[number] for number in numbers], k=shots)
        return _Counts(Counter(drawn), "drawn", seed)
    shares = {number: each * shots for number, each in probabilities.items()}
    whole = {number: round(each) for number, each in shares.items()}
    if all(abs(shares[number] - whole[number]) <= _TOLERANCE for number in shares) and sum(whole.values()) == shots:
        return _Counts(whole, "vendor")
    return _Counts(_rounded(shares, shots), "rounded")


def _rounded(shares: Mapping[int, float], shots: int) -> dict[int, int]:
    """Round to whole numbers whose sum is the number of shots: those with the largest remainders are rounded up."""
    whole = {number: int(each) for number, each in shares.items()}
    rest = sorted(shares, key=lambda number: (whole[number] - shares[number], number))
    for number in rest[: max(0, shots - sum(whole.values()))]:
        whole[number] += 1
    return whole


def _by_number(answer: Any, qubits: int) -> dict[int, float]:
    """Return values by IonQ's decimal numbers. Raises _Unreadable."""
    if not isinstance(answer, dict) or not answer:
        raise _Unreadable
    found: dict[int, float] = {}
    for text, value in answer.items():
        if not _DECIMAL.fullmatch(text) or int(text) >> qubits or not isinstance(value, int | float) or not value >= 0:
            raise _Unreadable
        found[int(text)] = float(value)
    return found


def _seed(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:6])


def _outcome(counts: _Counts, places: Sequence[tuple[int, int]], raw: Mapping[str, Any]) -> VendorOutcome:
    """Return counts by the bits of the program, and the facts about the run."""
    by_key: dict[int, int] = {}
    for number, count in counts.by_number.items():
        if count:
            key = sum((number >> place & 1) << clbit for clbit, place in places)
            by_key[key] = by_key.get(key, 0) + count
    job = raw["job"]
    facts = {
        "counts_origin": counts.origin,
        "draw_seed": counts.seed,
        "calibration_id": raw.get("characterization", {}).get("id"),
        "calibrated_at": raw.get("characterization", {}).get("date"),
        "noise_model": (job.get("noise") or {}).get("model"),
        "execution_ms": job.get("execution_duration_ms"),
        "billed_quantum_compute_us": (job.get("stats") or {}).get("billed_quantum_compute_time_us"),
        "vendor_gates": (job.get("stats") or {}).get("gate_counts"),
    }
    return vendor_outcome(by_key, **{name: value for name, value in facts.items() if value is not None})
