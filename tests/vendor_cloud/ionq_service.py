# SPDX-License-Identifier: Apache-2.0
"""IonQ's API v0.4 over HTTP, a process of its own, with the failures of the vendor's cloud (see `fake_vendor`).

It runs in the environment of IONQ, and checks each request, and each of its own responses, against the models of IonQ's
client. Outcome numbers have qubit 0 as their lowest bit, as measured by others on IonQ's machines.
"""

from __future__ import annotations

import cmath
import json
import math
import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from ionq_core import models

from tests.vendor_cloud.fake_vendor import PRICE, RoutedHandler, Service, serve

BACKENDS: Final = {"simulator": 29, "qpu.forte-1": 36, "qpu.forte-enterprise-1": 36, "qpu.tempo-1": 100}
#: In dollars, of a gate on one qubit and on two, for each shot.
GATE_PRICES: Final = (0.001, 0.004)
CALIBRATION: Final = "0197379a-c3b8-7548-9da4-bbb7067311c1"
_WORDS: Final = {"in line": "ready", "complete": "completed", "failed": "failed", "cancelled": "canceled"}
_ROOT: Final = math.sqrt(0.5)
_FIXED: Final = {
    "x": (0, 1, 1, 0),
    "y": (0, -1j, 1j, 0),
    "z": (1, 0, 0, -1),
    "h": (_ROOT, _ROOT, _ROOT, -_ROOT),
    "s": (1, 0, 0, 1j),
    "si": (1, 0, 0, -1j),
    "t": (1, 0, 0, cmath.exp(0.25j * math.pi)),
    "ti": (1, 0, 0, cmath.exp(-0.25j * math.pi)),
    "v": (0.5 + 0.5j, 0.5 - 0.5j, 0.5 - 0.5j, 0.5 + 0.5j),
    "vi": (0.5 - 0.5j, 0.5 + 0.5j, 0.5 + 0.5j, 0.5 - 0.5j),
}
_PAULIS: Final = {"x": _FIXED["x"], "y": _FIXED["y"], "z": _FIXED["z"]}


def probabilities(circuit: dict[str, Any]) -> dict[int, float]:
    """Return the probabilities of the outcomes of a circuit of the gateset "qis"; qubit 0 is the lowest bit."""
    state = [0j] * (1 << circuit["qubits"])
    state[0] = 1 + 0j
    for gate in circuit["circuit"]:
        name, angle = gate["gate"], gate.get("rotation", 0.0)
        targets = [int(each) for each in gate.get("targets", [gate.get("target")])]
        controls = sum(1 << int(each) for each in gate.get("controls", [gate["control"]] if "control" in gate else []))
        if name in ("xx", "yy", "zz"):
            turned = list(state)
            for target in targets:
                turned = _applied(turned, _PAULIS[name[0]], target, 0)
            cosine, sine = math.cos(angle / 2), math.sin(angle / 2)
            state = [cosine * old - 1j * sine * new for old, new in zip(state, turned, strict=True)]
        elif name == "swap":
            first, second = targets
            for control, target in ((first, second), (second, first), (first, second)):
                state = _applied(state, _FIXED["x"], target, controls | 1 << control)
        elif name in ("rx", "ry", "rz"):
            cosine, sine = math.cos(angle / 2), math.sin(angle / 2)
            pauli = _PAULIS[name[1]]
            matrix = tuple(cosine * one - 1j * sine * each for one, each in zip((1, 0, 0, 1), pauli, strict=True))
            state = _applied(state, matrix, targets[0], controls)
        else:
            state = _applied(state, _FIXED["x" if name in ("cnot", "not") else name], targets[0], controls)
    found = {number: abs(amplitude) ** 2 for number, amplitude in enumerate(state)}
    return {number: value for number, value in found.items() if value > 1e-12}


def _applied(state: list[complex], matrix: Any, target: int, controls: int) -> list[complex]:
    found, bit = list(state), 1 << target
    for index in range(len(state)):
        if not index & bit and index & controls == controls:
            low, high = state[index], state[index | bit]
            found[index] = matrix[0] * low + matrix[1] * high
            found[index | bit] = matrix[2] * low + matrix[3] * high
    return found


class IonQService(Service):
    """The jobs of IonQ."""

    def submitted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Accept a job. Raises KeyError, TypeError or ValueError: the request does not follow IonQ's models."""
        if models.CircuitJobCreationPayload.from_dict(body).to_dict() != body or body["type"] != "ionq.circuit.v1":
            raise ValueError("the request has fields that the API does not have")
        circuit, size = body["input"], BACKENDS[body["backend"]]
        used = [each for gate in circuit["circuit"] for each in _qubits(gate)]
        if not 1 <= circuit["qubits"] <= size or not all(0 <= each < circuit["qubits"] for each in used):
            raise ValueError("the circuit has other qubits than the backend")
        if not 1 <= body["shots"] <= 1_000_000:
            raise ValueError("shots must be from 1 to 1000000")
        metadata = body.get("metadata", {})
        if len(metadata) > 10 or any(len(key) > 40 or len(value) > 400 for key, value in metadata.items()):
            raise ValueError("the metadata is too large")
        fails = self.behavior.outcome == "partial" and not any(each["fails"] for each in self.jobs.values())
        job = self.accept({"mark": metadata.get("qonduit", ""), "circuits": [circuit], "body": body, "fails": fails})
        job["submitted"] = self.now()
        return job

    def described(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job as IonQ describes it."""
        if job["fails"] and job["state"] == "in line":
            job["state"] = "failed"
        state, body = self.look(job)["state"], job["body"]
        ended = state in ("complete", "failed")
        failure = {"code": "QuantumComputerError", "message": "the cryostat is warm"} if state == "failed" else None
        found: dict[str, Any] = {
            "id": job["id"],
            "status": _WORDS[state],
            "type": body["type"],
            "backend": body["backend"],
            "dry_run": False,
            "submitter_id": "64b03577072d45001c85e9c4",
            "project_id": None,
            "parent_job_id": None,
            "session_id": None,
            "metadata": body.get("metadata"),
            "name": body.get("name"),
            "submitted_at": _time(job["submitted"]),
            "started_at": _time(job["submitted"] + timedelta(seconds=1)) if ended else None,
            "completed_at": _time(job["submitted"] + timedelta(seconds=2)) if ended else None,
            "predicted_wait_time_ms": None if ended else 60_000,
            "predicted_execution_duration_ms": 1000,
            "execution_duration_ms": 1000 if ended else None,
            "shots": body["shots"],
            "failure": failure,
            "output": {},
            "settings": body["settings"],
            "stats": {"qubits": body["input"]["qubits"], "circuits": 1, "gate_counts": {"1q": 1, "2q": 0}},
            "results": self._artifacts(job) if state == "complete" else None,
        }
        if "noise" in body:
            found["noise"] = body["noise"]
            if body["noise"]["model"] == "ideal":
                del found["shots"]
        models.BaseJob.from_dict(found)
        return found

    def _artifacts(self, job: dict[str, Any]) -> dict[str, Any]:
        names = ["probabilities"] if job["body"].get("noise") or not self.behavior.histograms else ["histogram"]
        return {
            f"ionq.result.{name}.json.v1": {
                "id": name,
                "format": f"ionq.result.{name}.json.v1",
                "media_type": "application/json",
            }
            for name in names
        }

    def measured(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the relative frequencies of the shots; the exact probabilities on the ideal simulator."""
        found = probabilities(job["body"]["input"])
        if job["body"].get("noise", {}).get("model") != "ideal":
            shots = job["body"]["shots"]
            chance = random.Random(job["id"])
            counts = Counter(chance.choices(list(found), list(found.values()), k=shots))
            found = {number: count / shots for number, count in counts.items()}
        return {str(number): value for number, value in found.items()}


def _qubits(gate: dict[str, Any]) -> list[int]:
    single = [gate[key] for key in ("target", "control") if key in gate]
    return [*single, *gate.get("targets", []), *gate.get("controls", [])]


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class IonQHandler(RoutedHandler):
    """One request of IonQ's client."""

    service: IonQService

    def error(self, message: str, code: str) -> dict[str, Any]:
        return {"error": code, "message": message, "statusCode": 400}

    def routed(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> tuple[str, int, Any]:
        version, *path = path
        assert version == "v0.4"
        service = self.service
        scheme, _, key = (self.headers["Authorization"] or "").partition(" ")
        service.authorizations.add(key)
        if scheme != "apiKey" or (service.behavior.tokens and key not in service.behavior.tokens):
            service.note("refused")
            return "ok", 401, self.error(f"Invalid key provided: {key}", "Unauthorized Error")
        if path == ["backends"]:
            service.note("backends")
            return "ok", 200, [self._backend(name, size) for name, size in BACKENDS.items()]
        if path[0] == "backends":
            service.note("characterizations")
            return "ok", 200, self._characterizations(path[1])
        if path == ["jobs"] and method == "POST":
            return self._submitted(body)
        if path == ["jobs"]:
            mode = service.next("poll" if "ids" in query else "find")
            return mode, 200, self._listed(query) if mode == "ok" or mode.startswith("accept") else {}
        if path == ["jobs", "estimate"]:
            return service.next("estimate"), 200, self._estimated({name: values[0] for name, values in query.items()})
        kind = path[-1] if len(path) > 2 else "job"
        # The job is read before its results.
        mode = service.next("results" if kind == "job" else kind)
        job = None if service.behavior.forget else service.jobs.get(path[1])
        if job is None:
            return "ok", 404, self.error("Resource not found.", "Not Found Error")
        if kind == "cancel":
            return "ok", *self._cancelled(job)
        return mode, 200, self._read(kind, job)

    def _submitted(self, body: bytes) -> tuple[str, int, dict[str, Any]]:
        mode = self.service.next("submit")
        if mode != "ok" and not mode.startswith("accept"):
            return mode, 200, {}
        try:
            job = self.service.submitted(json.loads(body))
        except (KeyError, TypeError, ValueError) as error:
            return "ok", 400, self.error(f"{type(error).__name__}: {error}", "Bad Request")
        answer = {"id": job["id"], "status": "ready", "session_id": None}
        models.JobCreationResponse.from_dict(answer)
        return mode, 201, answer

    def _estimated(self, query: dict[str, str]) -> dict[str, Any]:
        """Return the price of a job of so many gates and shots."""
        asked = {name: int(query[name]) for name in ("qubits", "shots", "1q_gates", "2q_gates")}
        context = {"backend": query["backend"], "type": query["type"], "organization": "lab", "project": None, **asked}
        gates = asked["1q_gates"] * GATE_PRICES[0] + asked["2q_gates"] * GATE_PRICES[1]
        rate = {"sku": "forte", "unit": "gates", "cost_1q_gate": GATE_PRICES[0], "cost_2q_gate": GATE_PRICES[1]}
        answer = {
            "estimate_context": {**context, "error_mitigation": query["error_mitigation"] == "true"},
            "estimated_at": _time(self.service.now()),
            "estimated_unit": "usd",
            "rate_card": {"id": "card-1", "rates": [{**rate, "job_cost_minimum": PRICE}]},
            "estimated_total_cost": max(PRICE, gates * asked["shots"]),
            "estimated_execution_time": 1000,
            "current_predicted_queue_time": 60_000,
        }
        models.GetJobEstimateResponse.from_dict(answer)
        return answer

    def _listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """Return a page of jobs, the newest first."""
        known = {} if self.service.behavior.forget else self.service.jobs
        found = []
        for job in reversed(known.values()):
            if job["id"] not in query.get("ids", [job["id"]]):
                continue
            if job["body"]["backend"] not in query.get("target", [job["body"]["backend"]]):
                continue
            if "ids" not in query:
                job["lag"] -= 1
                if job["lag"] >= 0:
                    continue
            found.append(self.service.described(job))
        start, limit = int(query.get("next", ["0"])[0]), int(query.get("limit", ["25"])[0])
        following = start + limit
        page = {"jobs": found[start:following], "next": str(following) if following < len(found) else None}
        models.GetJobsResponse.from_dict(page)
        return page

    def _read(self, kind: str, job: dict[str, Any]) -> dict[str, Any]:
        if kind == "job":
            return self.service.described(job)
        if kind == "cost":
            cost = {"value": PRICE, "unit": "usd"}
            answer: dict[str, Any] = {"dry_run": False, "estimated_cost": cost, "cost": cost}
            models.GetJobCostResponse.from_dict(answer)
            return answer
        found = self.service.measured(job)
        if kind == "histogram":
            found = {number: round(value * job["body"]["shots"]) for number, value in found.items()}
        return found

    def _cancelled(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.service.behavior.cancel == "fail":
            return 500, self.error("try again", "Internal Server Error")
        if self.service.behavior.cancel == "refuse":
            return 409, self.error("the job is on the machine", "Conflict")
        if job["state"] == "in line":
            job["state"], job["cancelled"] = "cancelled", True
        return 200, {"id": job["id"], "status": "canceled"}

    def _backend(self, name: str, size: int) -> dict[str, Any]:
        found = {
            "backend": name,
            "status": "unavailable" if name == "qpu.forte-enterprise-1" else "available",
            "degraded": name == "qpu.forte-1",
            "qubits": size,
            "average_queue_time": 90_000,
            "last_updated": "2026-11-01T00:00:00Z",
        }
        if name != "simulator":
            found["characterization_id"] = CALIBRATION
        models.Backend.from_dict(found)
        return found

    def _characterizations(self, backend: str) -> dict[str, Any]:
        found = {
            "id": CALIBRATION,
            "backend": backend,
            "date": "2026-11-01T00:00:00Z",
            "qubits": 36,
            "connectivity": [[0, 1]],
            "fidelity": {"spam": {"median": 0.9962}},
            "timing": {"readout": 1, "reset": 1, "t1": 10, "t2": 1},
        }
        models.Characterization.from_dict(found)
        return {"characterizations": [found], "pages": 1}


if __name__ == "__main__":
    serve(IonQHandler, IonQService())
