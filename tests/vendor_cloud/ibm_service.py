# SPDX-License-Identifier: Apache-2.0
"""IBM's service over HTTP, a process of its own, with the failures of the vendor's cloud (see `fake_vendor`).

It checks each request against IBM's own models, runs circuits with Aer, and encodes results as IBM's service does.
Its two machines have the configuration and the calibration of a processor that IBM had.
"""

from __future__ import annotations

import base64
import copy
import json
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
from ibm_quantum_schemas.estimator.version_0_1 import ParamsModel as EstimatorParams
from ibm_quantum_schemas.sampler.version_0_1.params import ParamsModel as SamplerParams
from qiskit.primitives import BackendEstimatorV2, BitArray, DataBin, PrimitiveResult, PubResult, SamplerPubResult
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder
from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
from qiskit_ibm_runtime.utils.backend_decoder import configuration_from_server_data
from qiskit_ibm_runtime.utils.validations import validate_isa_circuits

from tests.vendor_cloud.fake_vendor import PRICE, RoutedHandler, Service, serve
from tests.vendor_cloud.ibm_provider import INSTANCE, MACHINE, STATIC

#: The processor whose shape both machines have.
SHAPE: Final = "lima"
CALIBRATION: Final = "calibration-7"
_KEY: Final = "the key of the identity service, which signs the tokens"


def _files(kind: str) -> dict[str, Any]:
    spec = find_spec("qiskit_ibm_runtime")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], "fake_provider", "backends", SHAPE)
    found: dict[str, Any] = json.loads((folder / f"{kind}_{SHAPE}.json").read_text("utf-8"))
    return found


class IBMService(Service):
    """The jobs, and what the service knows about its machines."""

    def __init__(self) -> None:
        super().__init__()
        self.simulator = AerSimulator()
        self.properties = _files("props")
        configuration = _files("conf")
        configuration["supported_features"] = ["qasm3"]
        self.configurations = {}
        for name, more in {MACHINE: ["if_else"], STATIC: []}.items():
            own = copy.deepcopy(configuration)
            own["backend_name"] = name
            own["supported_instructions"] = [*own["supported_instructions"], *more]
            self.configurations[name] = own

    def submitted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Accept a job of a primitive. Raises ValueError: the request does not follow IBM's models."""
        models = {"sampler": SamplerParams, "estimator": EstimatorParams}
        if body["program_id"] not in models or body["backend"] not in self.configurations:
            raise ValueError(f"unknown program or backend: {body['program_id']}, {body['backend']}")
        params = models[body["program_id"]].model_validate(body["params"])
        assert params.support_qiskit
        tags = body.get("tags", [])
        assert all(len(tag) <= 86 for tag in tags)
        pubs = json.loads(json.dumps(body["params"]["pubs"]), cls=RuntimeDecoder)
        configuration = configuration_from_server_data(copy.deepcopy(self.configurations[body["backend"]]))
        validate_isa_circuits([pub[0] for pub in pubs], convert_to_target(configuration))
        wanted = {"mark": tags[0] if tags else "", "circuits": [(pub[0], pub[2]) for pub in pubs], "tags": tags}
        if body["program_id"] == "estimator":
            own = body["params"]
            wanted["estimated"] = {
                "observables": [pub[1] for pub in pubs],
                "precisions": [pub[3] for pub in pubs],
                "resilience_level": own["resilience_level"],
                "shots": own.get("options", {}).get("default_shots"),
            }
        group = body.get("session_id")
        if group is not None:
            opened = self.groups[group]
            if not opened["accepting_jobs"] or opened["backend_name"] != body["backend"]:
                raise ValueError(f"the session {group} accepts no jobs of {body['backend']}")
            wanted["group"] = group
        job = self.accept(wanted)
        if "estimated" in wanted:
            job["level"] = wanted["estimated"]["resilience_level"]
        job |= {"backend": body["backend"], "created": _text(self.now()), "most_seconds": body.get("cost")}
        return job

    def opened(self, body: dict[str, Any]) -> dict[str, Any]:
        """Open a batch or a session."""
        if body["mode"] not in ("batch", "dedicated") or not 0 < body["max_ttl"] <= 28_800:
            raise ValueError(f"unknown mode or time: {body}")
        if body["backend"] not in self.configurations or body["instance"] != INSTANCE:
            raise ValueError(f"unknown backend or instance: {body}")
        found = {"id": f"group-{len(self.groups) + 1}", "mode": body["mode"], "backend_name": body["backend"]}
        found |= {"max_ttl": body["max_ttl"], "state": "open", "accepting_jobs": True, "elapsed_time": None}
        self.groups[found["id"]] = found
        return found

    def grouped(self, group: dict[str, Any]) -> dict[str, Any]:
        """Return a batch or a session, which ends after its jobs once it is closed."""
        jobs = [self.look(job) for job in self.jobs.values() if job.get("group") == group["id"]]
        ended = all(job["state"] != "in line" for job in jobs)
        if not group["accepting_jobs"]:
            group["state"] = "closed" if ended else "pending_closed"
        if group["state"] == "closed":
            group["elapsed_time"] = 7.5 if group["mode"] == "dedicated" else PRICE * len(jobs)
        return group

    def described(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job as IBM describes it."""
        state = self.look(job)["state"]
        word = {"in line": "Queued", "complete": "Completed", "failed": "Failed", "cancelled": "Cancelled"}[state]
        stated: dict[str, Any] = {"status": word}
        if state == "failed":
            stated |= {"reason": "the cryostat is warm", "reason_code": "E-7"}
        found = {
            "id": job["id"],
            "backend": job["backend"],
            "state": stated,
            "status": word,
            "program": {"id": "sampler"},
            "created": job["created"],
            "cost": 10800,
            "tags": job["tags"],
            "calibration_id": CALIBRATION,
            "usage": {"status": "pending"},
        }
        if state == "complete":
            found["usage"] = {"status": "complete", "qpu_charge_time_seconds": PRICE * len(job["circuits"])}
        return found

    def metrics(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics of a job."""
        stamps = {"created": job["created"]}
        if job["state"] in ("complete", "failed"):
            stamps |= dict.fromkeys(("running", "finished"), _text(self.now()))
        return {"timestamps": stamps, "usage": self.described(job)["usage"]}

    def result(self, job: dict[str, Any]) -> bytes:
        """Return the result of a job, encoded."""
        if "estimated" in job:
            return self._estimates(job)
        found = []
        for circuit, shots in job["circuits"]:
            ran = self.simulator.run(circuit, shots=shots, memory=True).result()
            memory = [line.replace(" ", "") for line in ran.get_memory()]
            data, end = {}, sum(register.size for register in circuit.cregs)
            for register in circuit.cregs:
                own = [line[end - register.size : end] for line in memory]
                data[register.name] = BitArray.from_samples(own, num_bits=register.size)
                end -= register.size
            found.append(SamplerPubResult(DataBin(**data), metadata={"circuit_metadata": circuit.metadata}))
        return json.dumps(PrimitiveResult(found, metadata={"version": 2}), cls=RuntimeEncoder).encode()

    def _estimates(self, job: dict[str, Any]) -> bytes:
        """Return the estimates of a job, with the metadata of IBM's estimator."""
        found = []
        wanted = job["estimated"]
        for (circuit, _), observables, own in zip(
            job["circuits"], wanted["observables"], wanted["precisions"], strict=True
        ):
            precision = wanted["shots"] ** -0.5 if wanted["shots"] else own
            estimator = BackendEstimatorV2(backend=self.simulator)
            (ran,) = estimator.run([(circuit, observables)], precision=precision).result()
            data = DataBin(evs=ran.data.evs, stds=ran.data.stds, shape=ran.data.evs.shape)
            metadata = {"shots": ran.metadata["shots"], "target_precision": precision, "resilience": {}}
            metadata |= {"num_randomizations": 32, "circuit_metadata": circuit.metadata}
            found.append(PubResult(data, metadata=metadata))
        whole = {"version": 2, "resilience": {"level": wanted["resilience_level"]}}
        return json.dumps(PrimitiveResult(found, metadata=whole), cls=RuntimeEncoder).encode()


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class IBMHandler(RoutedHandler):
    """One request of IBM's SDK."""

    service: IBMService

    def error(self, message: str, code: str) -> dict[str, Any]:
        return {"trace": "t", "errors": [{"code": code, "message": message, "more_info": ""}]}

    def routed(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> tuple[str, int, Any]:
        self.mode = "ok"
        status, answer = self._answer_to(method, path, query, body)
        return self.mode, status, answer

    def _answer_to(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Return the answer; `self.mode` is how it is delivered."""
        service = self.service
        if path == ["identity", "token"]:
            service.note("token")
            return self._token(parse_qs(body.decode())["apikey"][0])
        if path[0] == "v3":
            service.note("instances")
            found = [
                {
                    "crn": INSTANCE if number == 0 else f"{INSTANCE}{number}",
                    "name": f"lab {number}",
                    "doc": {"extensions": {"backends": [MACHINE]}},
                    "service_plan_unique_id": "plan",
                    "tags": [],
                }
                for number in range(service.behavior.instances)
            ]
            return 200, {"items": found}
        if path[0] == "plan":
            return 200, {"overview_ui": {"en": {"display_name": "Open"}}, "metadata": {"pricing": {"type": "free"}}}
        if (refused := self._refused()) is not None:
            return refused
        if path == ["jobs"] and method == "POST":
            self.mode = service.next("submit")
            if self.mode != "ok" and not self.mode.startswith("accept"):
                return 200, {}
            try:
                job = service.submitted(json.loads(body))
            except (ValueError, KeyError, AssertionError) as error:
                self.mode = ""
                return 400, self.error(f"{type(error).__name__}: {error}", "1211")
            return 200, {"id": job["id"], "backend": job["backend"]}
        if path == ["jobs"]:
            service.note("find")
            return 200, self._listed(query["tags"])
        if path[0] == "sessions":
            return self._of_session(method, path[1:], json.loads(body or b"{}"))
        if path[0] == "jobs":
            return self._of_job(method, path[1:])
        return self._of_backend(path)

    def _token(self, key: str) -> tuple[int, Any]:
        behavior = self.service.behavior
        if behavior.tokens and key not in behavior.tokens:
            return 400, {"errorCode": "BXNIM0415E", "errorMessage": f"Provided API key {key} could not be found."}
        now = int(self.service.now().timestamp())
        token = jwt.encode({"iat": now, "exp": now + 3600, "key": key}, _KEY, algorithm="HS256")
        if behavior.opaque:
            token = base64.b64encode(key.encode()).decode()
        return 200, {"access_token": token, "refresh_token": "-", "expires_in": 3600, "expiration": now + 3600}

    def _refused(self) -> tuple[int, Any] | None:
        """Return the refusal of a request without a valid access token for the instance."""
        scheme, _, token = (self.headers["Authorization"] or "").partition(" ")
        self.service.authorizations.add(token)
        try:
            assert scheme == "Bearer"
            key = jwt.decode(token, _KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False})[
                "key"
            ]
        except (AssertionError, jwt.PyJWTError):
            return 401, self.error(f"the token {token} is not valid", "1234")
        if self.service.behavior.tokens and key not in self.service.behavior.tokens:
            return 401, self.error(f"the key {key} is not valid any more", "1235")
        if self.headers["Service-CRN"] != INSTANCE:
            return 403, self.error("no access to the instance", "1236")
        return None

    def _listed(self, tags: list[str]) -> dict[str, Any]:
        found = []
        for job in self.service.jobs.values():
            if set(tags) <= set(job["tags"]):
                if job["lag"] <= 0:
                    found.append(self.service.described(job))
                job["lag"] -= 1
        return {"jobs": found, "count": len(found)}

    def _of_job(self, method: str, path: list[str]) -> tuple[int, Any]:
        service = self.service
        kind = {"GET": {1: "poll"}.get(len(path), path[-1]), "POST": path[-1]}[method]
        if kind in ("poll", "results"):
            self.mode = service.next(kind)
        else:
            service.note(kind)
        job = None if service.behavior.forget else service.jobs.get(path[0])
        if job is None:
            return 404, self.error(f"job {path[0]} not found", "1291")
        if kind == "poll":
            return 200, service.described(job)
        if kind == "metrics":
            return 200, service.metrics(job)
        if kind == "results":
            return 200, {"quasi_dists": []} if service.behavior.unreadable else service.result(job)
        if service.behavior.cancel == "fail":
            return 500, self.error("try again", "1000")
        if service.behavior.cancel == "refuse" or job["state"] != "in line":
            return 409, self.error("the job is on the machine", "1209")
        job["state"], job["cancelled"] = "cancelled", True
        return 204, None

    def _of_session(self, method: str, path: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        service = self.service
        if method == "POST":
            self.mode = service.next("open")
            if self.mode != "ok" and not self.mode.startswith("accept"):
                return 200, {}
            try:
                return 200, {"id": service.opened(body)["id"]}
            except (ValueError, KeyError) as error:
                return 400, self.error(f"{type(error).__name__}: {error}", "1211")
        if path[0] not in service.groups:
            return 404, self.error(f"session {path[0]} not found", "1293")
        group = service.groups[path[0]]
        if method == "PATCH":
            self.mode = service.next("close")
            if self.mode == "ok" or self.mode.startswith("accept"):
                group["accepting_jobs"] = body["accepting_jobs"]
            return 204, None
        service.note("session")
        return 200, service.grouped(group)

    def _of_backend(self, path: list[str]) -> tuple[int, Any]:
        service = self.service
        service.note(path[-1])
        if path == ["instances", "usage"]:
            return 200, {"usage_limit_reached": False, "usage_remaining_seconds": 600, "usage_consumed_seconds": 0}
        if path == ["backends"]:
            paused = service.behavior.machines == "paused"
            status = {"name": "paused", "reason": "calibrating"} if paused else {"name": "online", "reason": ""}
            listed = [
                {"name": name, "status": status, "queue_length": 3, "qubits": 5} for name in service.configurations
            ]
            return 200, {"devices": listed}
        if service.behavior.machines == "fail":
            return 500, self.error("try again", "1000")
        if path[1] not in service.configurations:
            return 404, self.error(f"backend {path[1]} not found", "1292")
        if path[2] == "configuration":
            return 200, service.configurations[path[1]]
        if path[2] == "properties":
            return 200, service.properties
        return 200, {"state": True, "status": "active", "message": "", "length_queue": 3, "backend_version": "1.0.5"}


if __name__ == "__main__":
    serve(IBMHandler, IBMService())
