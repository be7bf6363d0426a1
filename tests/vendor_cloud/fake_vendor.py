# SPDX-License-Identifier: Apache-2.0
"""A vendor's service over HTTP, a process of its own: it runs circuits, counts what it accepts, and fails on request.

`POST /control` sets the fields of `Behavior`, and returns the accepted jobs and the requests. The service has no code
in common with the provider that calls it, and names qubits in the opposite order to the server's.
"""

from __future__ import annotations

import cmath
import json
import math
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

PRICE: Final = 0.25
#: The delay of an answer that is slow.
SLOW_SECONDS: Final = 0.5


@dataclass
class Behavior:
    """What the service does.

    Attributes:
        submits: what happens to the next submissions: "ok", "busy" (429), "refuse" (400), "fail" (500, not accepted),
            "accept-fail" (500, accepted), "accept-cut", "accept-hang", "accept-half", "cut", "quota" (402).
        polls: the same for the next polls: "ok", "busy", "fail", "hang", "half", "slow".
        fetches: the same for the next reads of results.
        lists: the same for the next lists of devices.
        devices: the devices of the account beside the machine.
        cancel: "ok", "refuse" or "fail".
        hold: whether jobs stay queued.
        hold_large: whether those with more than one circuit do.
        lag: lists do not contain a job for this number of look-ups.
        tokens: the valid tokens; all if empty.
        forget: whether the service does not know its jobs.
        outcome: "done", "failed" or "partial" (the first circuit fails).
        retry_after: of the status 429, in seconds.
        opaque: of IBM: whether access tokens are no JSON Web Tokens.
        machines: of IBM: "ok", "paused", or "fail" if the service does not describe its machines.
        skew: the seconds by which the vendor's clock is late.
        unreadable: of IBM: whether results are not those of a sampler.
        instances: of IBM: the number of instances of the account.
        histograms: of IonQ: whether its machines return counts in place of frequencies.
        reversed: whether the bits of outcomes are in the opposite order.
        opens: what happens to the next requests to open a session, as to submissions.
        closes: the same for the next requests to close one.
        estimates: what happens to the next estimates of costs, as to polls.
        files: of Amazon: whether the results of a set of programs are in many files.
        price: of a circuit, which the service reports; nothing if None.
    """

    submits: list[str] = field(default_factory=list)
    polls: list[str] = field(default_factory=list)
    fetches: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=lambda: ["of_the_lab"])
    cancel: str = "ok"
    hold: bool = False
    hold_large: bool = False
    lag: int = 0
    tokens: list[str] = field(default_factory=list)
    forget: bool = False
    outcome: str = "done"
    retry_after: float = 0.5
    opaque: bool = False
    machines: str = "ok"
    skew: float = 0.0
    unreadable: bool = False
    instances: int = 1
    histograms: bool = False
    reversed: bool = False
    price: float | None = PRICE
    opens: list[str] = field(default_factory=list)
    closes: list[str] = field(default_factory=list)
    estimates: list[str] = field(default_factory=list)
    files: bool = False


class Service:
    """The jobs of the vendor."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.behavior = Behavior()
        self.jobs: dict[str, dict[str, Any]] = {}
        #: The batches and sessions, of vendors that have them.
        self.groups: dict[str, dict[str, Any]] = {}
        self.requests: Counter[str] = Counter()
        self.times: list[tuple[str, float]] = []
        self.authorizations: set[str] = set()

    def report(self) -> dict[str, Any]:
        """Return the jobs without their circuits, and the number of requests by kind."""
        shown = ("mark", "state", "cancelled", "most_seconds", "group", "level")
        jobs = {key: {name: job[name] for name in shown if name in job} for key, job in self.jobs.items()}
        requests = dict(self.requests)
        return {"jobs": jobs, "groups": self.groups, "requests": requests, "times": self.times[-1000:]}

    def now(self) -> datetime:
        """Return the time of the vendor's clock."""
        return datetime.now(UTC) - timedelta(seconds=self.behavior.skew)

    def note(self, kind: str) -> None:
        """Count a request of a kind."""
        self.requests[kind] += 1
        self.times.append((kind, time.monotonic()))

    def next(self, kind: str) -> str:
        """Count a request; return what happens to it."""
        self.note(kind)
        queues = {"submit": "submits", "poll": "polls", "results": "fetches", "list": "lists"}
        queues |= {"open": "opens", "close": "closes", "estimate": "estimates"}
        planned = getattr(self.behavior, queues[kind]) if kind in queues else []
        return planned.pop(0) if planned else "ok"

    def accept(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Accept a job; one with the id or token of an earlier one returns that one."""
        for job in self.jobs.values():
            if wanted.get("once") and job["mark"] == wanted["mark"]:
                return job
        name = wanted["mark"] if wanted.get("own_id") else f"job-{len(self.jobs) + 1}"
        job = {"id": name, "state": "in line", "cancelled": False, "lag": self.behavior.lag, **wanted}
        job["position"] = len(self.jobs) + 1
        self.jobs[name] = job
        return job

    def look(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the state of a job; a job that is not held ends."""
        held = self.behavior.hold or (self.behavior.hold_large and len(job["circuits"]) > 1)
        if job["state"] == "in line" and not held:
            job["state"] = "failed" if self.behavior.outcome == "failed" else "complete"
        found = {"id": job["id"], "state": job["state"]}
        if job["state"] == "in line":
            found["position"] = job["position"]
        elif job["state"] == "complete" and self.behavior.price is not None:
            found["price"] = self.behavior.price * len(job["circuits"])
        elif job["state"] == "failed":
            found |= {"error": "the cryostat is warm", "code": "E-7", "charged": True}
        return found

    def results(self, job: dict[str, Any]) -> list[Any]:
        """Return the counts of each circuit by the bits of its measured qubits, the first qubit first."""
        found: list[Any] = []
        for number, circuit in enumerate(job["circuits"]):
            if self.behavior.outcome == "partial" and number == 0:
                found.append({"error": "calibration lost", "code": "E-9"})
            else:
                counts = run(circuit, job["shots"])
                if self.behavior.reversed:
                    counts = {text[::-1]: count for text, count in counts.items()}
                found.append({"counts": counts})
        return found


def run(circuit: dict[str, Any], shots: int) -> dict[str, int]:
    """Run a circuit of the gates rz, sx, x and cx."""
    size = circuit["qubits"]
    state = [0j] * (1 << size)
    state[0] = 1 + 0j
    for name, qubits, angles in circuit["gates"]:
        target = 1 << qubits[-1]
        if name == "cx":
            control = 1 << qubits[0]
            for index in range(1 << size):
                if index & control and not index & target:
                    state[index], state[index | target] = state[index | target], state[index]
            continue
        half = angles[0] / 2 if angles else 0.0
        matrix = {
            "x": (0, 1, 1, 0),
            "sx": (0.5 + 0.5j, 0.5 - 0.5j, 0.5 - 0.5j, 0.5 + 0.5j),
            "rz": (cmath.exp(-1j * half), 0, 0, cmath.exp(1j * half)),
        }[name]
        for index in range(1 << size):
            if not index & target:
                low, high = state[index], state[index | target]
                state[index] = matrix[0] * low + matrix[1] * high
                state[index | target] = matrix[2] * low + matrix[3] * high
    weights = [abs(amplitude) ** 2 for amplitude in state]
    assert math.isclose(sum(weights), 1, abs_tol=1e-6)
    counts: Counter[str] = Counter()
    for index in random.choices(range(1 << size), weights, k=shots):
        counts["".join(str(index >> qubit & 1) for qubit in circuit["measured"])] += 1
    return dict(counts)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    service: Service
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.handle_request("GET", b"")

    def do_PATCH(self) -> None:
        self.handle_request("PATCH", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_PUT(self) -> None:
        self.handle_request("PUT", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_POST(self) -> None:
        self.handle_request("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def handle_request(self, method: str, data: bytes) -> None:
        """Answer a request."""
        self._answer(json.loads(data) if data else {})

    def control(self, fields: dict[str, Any]) -> None:
        """Change the behavior; send the report."""
        with self.service.lock:
            for name, value in fields.items():
                setattr(self.service.behavior, name, value)
            report = self.service.report()
        self._send(200, report)

    def error(self, message: str, code: str) -> dict[str, Any]:
        """Return the body of an error."""
        return {"error": message, "code": code}

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.service.now(), usegmt=True)

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, body: dict[str, Any]) -> None:
        service, path = self.service, self.path.strip("/").split("/")
        if path == ["control"]:
            self.control(body)
            return
        with service.lock:
            token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
            service.authorizations.add(token)
            kind = {2: path[-1], 1: "submit"}.get(len(path), path[-1])
            mode = service.next(kind)
            if service.behavior.tokens and token not in service.behavior.tokens:
                self._send(401, self.error(f"the token {token} is not valid", "401"))
                return
            accepted = mode == "ok" or mode.startswith("accept")
            answer = self._make(kind, path, body) if accepted else (200, {})
        self._deliver(mode.removeprefix("accept-"), *answer)

    def _make(self, kind: str, path: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        service = self.service
        if kind == "submit":
            job = service.accept(body)
            return 201, {"id": job["id"], "state": job["state"], "position": job["position"]}
        if kind == "poll":
            known = {} if service.behavior.forget else service.jobs
            return 200, [service.look(known[each]) if each in known else {"id": each} for each in body["ids"]]
        if kind == "find":
            found = []
            for job in service.jobs.values():
                if job["mark"] == body["mark"]:
                    if job["lag"] <= 0:
                        found.append(service.look(job))
                    job["lag"] -= 1
            return 200, found
        if kind == "list":
            others = [{"name": name, "qubits": 4} for name in service.behavior.devices]
            return 200, [{"name": "machine", "qubits": 5}, *others]
        job = service.jobs[path[1]]
        if kind == "results":
            return 200, service.results(job)
        if service.behavior.cancel == "refuse":
            return 409, {"error": "the job is on the machine"}
        if service.behavior.cancel == "fail":
            return 500, {"error": "try again"}
        if job["state"] == "in line":
            job["state"], job["cancelled"] = "cancelled", True
        return 200, service.look(job)

    def _deliver(self, mode: str, status: int, answer: Any) -> None:
        if mode == "ok":
            self._send(status, answer)
        elif mode == "slow":
            threading.Event().wait(SLOW_SECONDS)
            self._send(status, answer)
        elif mode == "busy":
            again = str(self.service.behavior.retry_after)
            if self.service.behavior.skew:
                later = self.service.now() + timedelta(seconds=self.service.behavior.retry_after)
                again = format_datetime(later, usegmt=True)
            self._send(429, self.error("slow down", "429"), {"Retry-After": again})
        elif mode == "quota":
            self._send(402, self.error("the quota of the account is used up", "E-Q"))
        elif mode == "refuse":
            self._send(400, self.error("the machine has no such gate", "E-1"))
        elif mode == "fail":
            self._send(500, self.error("internal error", "500"))
        elif mode == "half":
            data = _encoded(answer)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self._cut()
        elif mode == "hang":
            self.connection.settimeout(600)
            self.connection.recv(1)  # until the client closes the connection
            self._cut()
        else:
            self._cut()

    def _cut(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        data = _encoded(answer)
        self.send_response(status)
        for name, value in {
            **(headers or {}),
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _encoded(answer: Any) -> bytes:
    """Return the body of an answer: bytes as they are, and others as JSON."""
    if answer is None or isinstance(answer, bytes):
        return answer or b""
    return json.dumps(answer).encode()


class RoutedHandler(Handler):
    """One request, answered by its path."""

    def routed(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> tuple[str, int, Any]:
        """Return how the answer is delivered, its status, and its content."""
        raise NotImplementedError

    def handle_request(self, method: str, data: bytes) -> None:
        parts = urlsplit(self.path)
        path = parts.path.strip("/").split("/")
        if path == ["control"]:
            self.control(json.loads(data))
            return
        with self.service.lock:
            mode, status, answer = self.routed(method, path, parse_qs(parts.query), data)
        self._deliver(mode.removeprefix("accept-"), status, answer)


class Server(ThreadingHTTPServer):
    """Serves until its standard input ends."""

    daemon_threads = True
    request_queue_size = 128


def serve(handler: type[Handler], service: Service) -> None:
    """Serve on a free port, which is printed, until standard input ends."""
    handler.service = service
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


@dataclass
class FakeVendor:
    """A running service."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def control(self, **fields: Any) -> dict[str, Any]:
        """Change the behavior; return what the service accepted and was asked."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/control", json.dumps(fields))
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    @property
    def accepted(self) -> int:
        """The number of jobs that the vendor has, and would charge for."""
        return len(self.control()["jobs"])

    def requests(self, kind: str) -> int:
        """Return the number of requests of a kind: submit, poll, results, cancel, find."""
        return int(self.control()["requests"].get(kind, 0))


@contextmanager
def fake_vendor(module: str = "tests.vendor_cloud.fake_vendor", python: str = sys.executable) -> Iterator[FakeVendor]:
    """Start the service of a module, and end it afterwards."""
    command = [python, "-m", module]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield FakeVendor(int(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(100)


if __name__ == "__main__":
    serve(Handler, Service())
