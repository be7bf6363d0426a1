# SPDX-License-Identifier: Apache-2.0
"""An IQM server over HTTP, a process of its own, with the failures of the vendor's cloud (see `fake_vendor`).

It runs in the environment of IQM. It checks each request against the models of IQM's client, and the circuits against
the architecture of the machine; its responses are made from these models. It has a machine whose qubits are coupled,
and one whose qubits share a resonator.
"""

from __future__ import annotations

import cmath
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from iqm.iqm_client.models import validate_circuit
from iqm.iqm_client.validation import validate_circuit_instructions
from iqm.iqm_server_client.models import ListQuantumComputersResponse
from iqm.pulse import Circuit
from iqm.station_control.interface.models import CircuitMeasurementCounts, DynamicQuantumArchitecture
from iqm.station_control.interface.models.circuit import PostJobsRequest
from iqm.station_control.interface.models.jobs_new import JobData
from iqm.station_control.interface.models.observation_set import QualityMetricSet

from tests.vendor_cloud.fake_vendor import RoutedHandler, Service, serve

CALIBRATION: Final = "cd4dd889-b88b-4370-ba01-eb8262ad9c53"
_CALIBRATED: Final = "2026-11-01T06:00:00Z"
_WORDS: Final = {"in line": "waiting", "complete": "completed", "failed": "failed", "cancelled": "cancelled"}
_STAR: Final = "sirius"
#: QB4 of the crystal cannot be measured with this calibration.
_QUBITS: Final = {"garnet": ("QB1", "QB2", "QB3", "QB4", "QB5"), _STAR: ("QB1", "QB2", "QB3", "QB4")}
_RESONATOR: Final = "COMPR1"
_PAIRS: Final = (("QB1", "QB3"), ("QB2", "QB3"), ("QB4", "QB3"), ("QB5", "QB3"))


def architecture(computer: str) -> DynamicQuantumArchitecture:
    """Return the architecture of a quantum computer."""
    qubits, is_star = _QUBITS[computer], computer == _STAR
    measured = [name for name in qubits if is_star or name != "QB4"]
    shared = [(name, _RESONATOR) for name in qubits]
    gates = {
        "prx": _gate("drag_gaussian", [(name,) for name in qubits]),
        "measure": _gate("constant", [(name,) for name in measured]),
        "cz": _gate("tgss", shared if is_star else list(_PAIRS)),
    }
    if is_star:
        gates["move"] = _gate("tgss_crf", shared[1:])
    else:
        gates["cc_prx"] = _gate("prx_composite", [(name,) for name in measured])
    return DynamicQuantumArchitecture.model_validate(
        {
            "calibration_set_id": CALIBRATION,
            "qubits": list(qubits),
            "computational_resonators": [_RESONATOR] if is_star else [],
            "gates": gates,
        }
    )


def _gate(implementation: str, loci: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    return {
        "implementations": {implementation: {"loci": loci}},
        "default_implementation": implementation,
        "override_default_implementation": {},
    }


def metrics() -> QualityMetricSet:
    """Return the measured values of a calibration, with one that the client does not know."""
    values = {
        "characterization.model.QB1.t1_time": 4.5e-5,
        "characterization.model.QB1.t2_time": 2.5e-5,
        "metrics.ssro.measure.constant.QB1.error_0_to_1": 0.02,
        "metrics.ssro.measure.constant.QB1.error_1_to_0": 0.03,
        "metrics.irb.cz.tgss.QB1__QB3.fidelity": 0.991,
        "metrics.rb.prx.drag_gaussian.QB1.fidelity": 0.999,
        "novelties.of.QB1.value": 1.0,
    }
    stamps = {"created_timestamp": _CALIBRATED, "modified_timestamp": _CALIBRATED}
    observations = [
        {"observation_id": number, "dut_field": name, "value": value, "unit": "", "dut_label": "M1", **stamps}
        | {"source": {"type": "configuration_source"}}
        for number, (name, value) in enumerate(values.items())
    ]
    return QualityMetricSet.model_validate(
        {
            "observation_set_type": "quality-metric-set",
            "describes_id": CALIBRATION,
            "observation_set_id": str(uuid5(UUID(CALIBRATION), "metrics")),
            "dut_label": "M1",
            "created_timestamp": _CALIBRATED,
            "end_timestamp": _CALIBRATED,
            "observations": observations,
        }
    )


def counts(circuit: Circuit, shots: int, chance: random.Random) -> CircuitMeasurementCounts:
    """Run a circuit; the measurement keys are in the opposite order to that of the circuit."""
    names = sorted(circuit.all_locus_components())
    places = {name: place for place, name in enumerate(names)}
    keys = [step.args["key"] for step in circuit.instructions if step.name == "measure"]
    found: Counter[str] = Counter()
    for _ in range(shots):
        state = [0j] * (1 << len(names))
        state[0] = 1 + 0j
        bits: dict[str, int] = {}
        for step in circuit.instructions:
            qubits = [places[name] for name in step.locus]
            if step.name in ("measure", "reset"):
                state, bit = _collapsed(state, qubits[0], chance, reset=step.name == "reset")
                bits[step.args.get("key", "")] = bit
            else:
                state = _applied(state, step.name, qubits, step.args)
        found["".join(str(bits[key]) for key in reversed(keys))] += 1
    return CircuitMeasurementCounts(measurement_keys=keys[::-1], counts=dict(found))


def _applied(state: list[complex], name: str, qubits: list[int], arguments: dict[str, Any]) -> list[complex]:
    if name in ("barrier", "delay"):
        return state
    found, masks = list(state), [1 << qubit for qubit in qubits]
    if name == "prx":
        cosine, sine = math.cos(arguments["angle"] / 2), math.sin(arguments["angle"] / 2)
        turn = cmath.exp(1j * arguments["phase"])
        for index in range(len(state)):
            if not index & masks[0]:
                low, high = state[index], state[index | masks[0]]
                found[index] = cosine * low - 1j * sine * turn.conjugate() * high
                found[index | masks[0]] = cosine * high - 1j * sine * turn * low
        return found
    assert name in ("cz", "move")
    for index in range(len(state)):
        if name == "cz" and index & masks[0] and index & masks[1]:
            found[index] = -state[index]
        elif name == "move" and bool(index & masks[0]) != bool(index & masks[1]):
            found[index] = state[index ^ masks[0] ^ masks[1]]
    return found


def _collapsed(state: list[complex], qubit: int, chance: random.Random, *, reset: bool) -> tuple[list[complex], int]:
    mask = 1 << qubit
    weight = sum(abs(value) ** 2 for index, value in enumerate(state) if index & mask)
    bit = int(chance.random() < weight)
    norm = math.sqrt(weight if bit else 1 - weight)
    kept = [value / norm if bool(index & mask) == bool(bit) else 0j for index, value in enumerate(state)]
    if reset and bit:
        kept = [kept[index ^ mask] for index in range(len(kept))]
    return kept, bit


class IQMService(Service):
    """The jobs of an IQM server."""

    def submitted(self, computer: str, body: bytes) -> dict[str, Any]:
        """Accept a job. Raises ValueError: the request does not follow IQM's models, or the architecture."""
        wanted = PostJobsRequest.model_validate_json(body)
        if json.loads(wanted.model_dump_json()) != json.loads(body):
            raise ValueError("the request has fields that the API does not have")
        if str(wanted.calibration_set_id) != CALIBRATION:
            raise ValueError("the calibration set is not known")
        for circuit in wanted.circuits:
            validate_circuit(circuit)
        validate_circuit_instructions(architecture(computer), wanted.circuits)
        # The name of a circuit contains the tag, for people: IQM does not look for it.
        (mark,) = {circuit.name.split()[1] for circuit in wanted.circuits}
        job = self.accept({"mark": mark, "circuits": wanted.circuits, "shots": wanted.shots, "computer": computer})
        job["submitted"] = self.now()
        return job

    def accept(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Accept a job. Its id is a UUID."""
        job = super().accept(wanted)
        del self.jobs[job["id"]]
        job["id"] = str(uuid5(UUID(CALIBRATION), f"job {job['position']}"))
        self.jobs[job["id"]] = job
        return job

    def described(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job as IQM describes it."""
        state = self.look(job)["state"]
        found: dict[str, Any] = {"id": job["id"], "type": "circuit", "status": _WORDS[state], "errors": []}
        found["timeline"] = [_entry("created", job["submitted"])]
        if state == "in line":
            found["queue_position"] = job["position"] - 1
        if state in ("complete", "failed"):
            found["compilation"] = {"calibration_set_id": CALIBRATION}
            for number, status in enumerate(("execution_started", "execution_ended"), 1):
                found["timeline"].append(_entry(status, job["submitted"] + timedelta(seconds=number)))
        if state == "complete":
            found["artifacts"] = [{"type": "measurements"}, {"type": "measurement_counts"}]
        if state == "failed":
            error = {"message": "the cryostat is warm", "error_code": "E-7", "source": "iqm-station-control"}
            found["errors"] = [error]
        return JobData.model_validate(found).model_dump(mode="json")

    def counts(self, job: dict[str, Any]) -> list[Any]:
        """Return the counts of each circuit."""
        chance = random.Random(job["id"])
        return [counts(circuit, job["shots"], chance).model_dump(mode="json") for circuit in job["circuits"]]


def _entry(status: str, moment: datetime) -> dict[str, Any]:
    return {"source": "iqm-station-control", "status": status, "timestamp": moment.isoformat()}


class IQMHandler(RoutedHandler):
    """One request of IQM's client."""

    service: IQMService

    def error(self, message: str, code: str) -> dict[str, Any]:
        return {"message": message, "error_code": code, "source": "iqm-server"}

    def routed(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> tuple[str, int, Any]:
        root, version, *path = path
        assert (root, version) == ("api", "v1"), path
        service = self.service
        scheme, _, token = (self.headers["Authorization"] or "").partition(" ")
        service.authorizations.add(token)
        if scheme != "Bearer" or (service.behavior.tokens and token not in service.behavior.tokens):
            service.note("refused")
            return "ok", 401, self.error(f"the token {token} is not valid", "unauthorized")
        match [method, *path]:
            case ["GET", "quantum-computers"]:
                service.note("computers")
                return "ok", 200, self._computers()
            case ["GET", "quantum-computers", _, "health"]:
                return self._health()
            case ["GET", "calibration-sets", computer, _, "dynamic-quantum-architecture"]:
                mode = service.next("list")
                return mode, 200, architecture(computer).model_dump_json().encode()
            case ["GET", "calibration-sets", _, _, "metrics"]:
                return "ok", 200, metrics().model_dump_json().encode()
            case ["POST", "jobs", computer, "circuit"]:
                assert query == {"use_timeslot": ["false"]}, query
                return self._submitted(computer, body)
            case [_, "jobs", job_id, *rest]:
                return self._job(method, job_id, rest)
        return "ok", 404, self.error(f"there is no {method} {path}", "not_found")

    def _computers(self) -> dict[str, Any]:
        found = [
            {"id": str(uuid5(UUID(CALIBRATION), name)), "alias": name, "display_name": name.title()} for name in _QUBITS
        ]
        answer = ListQuantumComputersResponse.model_validate({"quantum_computers": found})
        return answer.model_dump(mode="json", exclude_unset=True)

    def _health(self) -> tuple[str, int, Any]:
        if self.service.behavior.machines == "fail":
            return "ok", 503, self.error("the machine is in maintenance", "unavailable")
        return "ok", 200, {"healthy": self.service.behavior.machines != "paused"}

    def _submitted(self, computer: str, body: bytes) -> tuple[str, int, Any]:
        mode = self.service.next("submit")
        if mode != "ok" and not mode.startswith("accept"):
            return mode, 200, {}
        try:
            job = self.service.submitted(computer, body)
        except ValueError as error:
            return "ok", 422, self.error(str(error), "validation_error")
        held, self.service.behavior.hold = self.service.behavior.hold, True
        answer = self.service.described(job)
        self.service.behavior.hold = held
        return mode, 201, answer

    def _job(self, method: str, job_id: str, rest: list[str]) -> tuple[str, int, Any]:
        service = self.service
        job = None if service.behavior.forget else service.jobs.get(job_id)
        kind = "results" if rest == ["artifacts", "measurement_counts"] else rest[0] if rest else "poll"
        mode = service.next(kind)
        if job is None:
            return "ok", 404, self.error("the job does not exist", "not_found")
        match [method, *rest]:
            case ["GET"]:
                return mode, 200, service.described(job)
            case ["GET", "artifacts", "measurement_counts"]:
                return mode, 200, service.counts(job)
            case ["POST", "cancel"]:
                return "ok", *self._cancelled(job)
        return "ok", 404, self.error("there is no such part of a job", "not_found")

    def _cancelled(self, job: dict[str, Any]) -> tuple[int, Any]:
        if self.service.behavior.cancel == "fail":
            return 500, self.error("try again", "internal")
        if self.service.behavior.cancel == "refuse":
            return 409, self.error("the job is on the machine", "conflict")
        if job["state"] == "in line":
            job["state"], job["cancelled"] = "cancelled", True
        return 200, None


if __name__ == "__main__":
    serve(IQMHandler, IQMService())
