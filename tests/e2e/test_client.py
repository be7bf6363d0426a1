# SPDX-License-Identifier: Apache-2.0
"""The Python client with a real server: submit, follow across a disconnect, read, refuse, cancel."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qonduit.v1.job_pb2 import JobState
from qonduit_client import (
    AlreadyExists,
    Client,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotFound,
    PreconditionFailed,
)
from qonduit_client.job_filters import MatchingJobs
from tests.benchmarks.programs import layered
from tests.both_clients import BOTH_CLIENTS
from tests.server_process import Server
from tests.upgrade.sample import ANGLES, TURNS

BELL2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
BELL3 = 'OPENQASM 3;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'
WAIT = 100.0


class Proxy:
    """A proxy between client and server that can cut every connection."""

    def __init__(self, target: str) -> None:
        self.forward_to(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._silent: set[socket.socket] = set()
        #: The threads that read what clients send.
        self._passing: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def forward_to(self, target: str) -> None:
        """Forward new connections to this server."""
        host, _, port = target.rpartition(":")
        self._server = (host, int(port))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._server)
                except OSError:  # no server at the moment
                    near.close()
                    continue
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    passing = threading.Thread(target=self._pass_on, args=(source, sink), daemon=True)
                    if source is near:
                        self._passing.append(passing)
                    passing.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source not in self._silent:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def wait_closed(self) -> int:
        """Wait until the clients have closed all of their connections; return how many there were."""
        for passing in self._passing:
            passing.join(WAIT)
            assert not passing.is_alive(), "a client keeps a connection"
        return len(self._passing)

    def cut(self) -> None:
        """Cut the open connections; new ones are forwarded."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def silence(self) -> None:
        """Swallow from now on what open connections carry; new ones are forwarded."""
        self._silent.update(self._open)

    def close(self) -> None:
        """Ends everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


@pytest.fixture(params=BOTH_CLIENTS)
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of the session's server: the waiting one, and the one for asyncio."""
    with BOTH_CLIENTS[request.param](server.target) as connected:
        yield connected


@pytest.mark.parametrize("device", ["IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"])
def test_bell_gives_the_same_on_every_provider(client: Client, device: str) -> None:
    job = client.run([BELL2, BELL3], device, 1000, name="bell")
    events = list(job.events(timeout=WAIT))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].created.name == "bell"
    assert events[-1].state_change.to_state == JobState.JOB_STATE_SUCCEEDED
    for result in job.results():
        assert set(result.counts) == {"0x0", "0x3"}
        assert sum(result.counts.values()) == result.shots == 1000
        assert result.registers == [("c", 2)]
        assert 350 < result.counts["0x0"] < 650


def test_seed_fixes_the_counts(client: Client) -> None:
    first, second = (client.run(BELL2, seed=5).result(WAIT).counts for _ in range(2))
    assert first == second


@pytest.mark.parametrize("twin", BOTH_CLIENTS)
def test_each_event_arrives_once_though_the_connection_is_cut(server: Server, twin: str) -> None:
    proxy = Proxy(server.target)
    try:
        with BOTH_CLIENTS[twin](proxy.target) as client:
            job = client.run([layered(12, 6, seed=k) for k in range(12)], shots=200)
            seen: list[int] = []
            cuts = 0
            for event in job.events(timeout=WAIT):
                seen.append(event.sequence)
                if len(seen) in (1, 4, 9):
                    proxy.cut()
                    cuts += 1
            assert seen == list(range(1, job.job().last_sequence + 1))
            assert cuts == 3
            assert len(job.results()) == 12
    finally:
        proxy.close()


@pytest.mark.parametrize("twin", BOTH_CLIENTS)
def test_a_closed_client_leaves_no_connection(server: Server, twin: str) -> None:
    proxy = Proxy(server.target)
    try:
        with BOTH_CLIENTS[twin](proxy.target) as client:
            # The client stops reading a stream when it has the result.
            assert client.run(BELL2, shots=10).result(WAIT).shots == 10
        assert proxy.wait_closed() >= 1
    finally:
        proxy.close()


def test_same_request_id_gives_the_same_job(client: Client) -> None:
    request_id = str(uuid.uuid4())
    job = client.run(BELL2, request_id=request_id)
    again = client.run(BELL2, request_id=request_id)
    assert (again.id, again.deduplicated, job.deduplicated) == (job.id, True, False)
    with pytest.raises(AlreadyExists) as caught:
        client.run(BELL3, request_id=request_id)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    job.wait(WAIT)


def test_program_at_fault_fails_the_job_with_its_place(client: Client) -> None:
    job = client.run('OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\nnonsense q[0];\n')
    with pytest.raises(JobFailed) as caught:
        job.result(WAIT)
    assert caught.value.failure.message
    assert caught.value.reason == caught.value.failure.reason != ""
    assert caught.value.failure.line == 4
    assert job.state() == "FAILED"


def test_refusals_name_the_invalid_value(client: Client) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        client.run(BELL2, shots=0)
    assert any("shots" in violation.field + violation.rule_id for violation in invalid.value.violations)
    with pytest.raises(NotFound) as missing:
        client.run(BELL2, "IBM/no_such_device")
    assert missing.value.reason == "NOT_FOUND"
    with pytest.raises(NotFound):
        client.job(10**12).job()
    with pytest.raises(NotFound):
        list(client.job(10**12).events())
    with pytest.raises(InvalidRequest):
        list(client.jobs("nonsense ="))


def test_check_creates_no_job(client: Client) -> None:
    newest = next(client.jobs(limit=1), None)
    assert client.check(BELL2, shots=5).job.shots == 5
    assert (newest and newest.id) == ((after := next(client.jobs(limit=1), None)) and after.id)


def test_a_deployment_in_use_is_kept(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "bell.qasm"
    file.write_text(BELL3)
    made = client.deploy([file, BELL2], name="two")
    assert client.deployment(made.id).programs[0].quantum_circuit == BELL3
    assert made.id in {each.id for each in client.deployments('name = "two"')}
    job = client.run(deployment_id=made.id)
    assert len(job.results(WAIT)) == 2
    assert [each.id for each in client.jobs(f"deployment_id = {made.id}")] == [job.id]
    with pytest.raises(PreconditionFailed):
        client.delete_deployment(made.id)
    client.delete_job(job.id)
    client.delete_deployment(made.id)
    with pytest.raises(NotFound):
        client.deployment(made.id)


def test_inputs_that_are_too_large_for_a_message_reach_the_program_and_can_be_read(client: Client) -> None:
    job = client.run(TURNS, shots=100, seed=1, inputs=ANGLES)
    counts = job.result(WAIT).counts
    assert counts == {"0x1": 100}
    again = client.rerun(job.id)
    assert again.result(WAIT).counts == counts
    for each in (job, again):
        assert each.job().inputs_reference.count == len(ANGLES)
        assert each.inputs() == ANGLES


def test_client_data_come_back_to_their_caller(client: Client) -> None:
    data = bytes(range(256)) * 4096  # the largest
    job = client.run(BELL2, shots=10, client_data=data)
    job.wait(WAIT)
    for each in (job, client.job(job.id), client.rerun(job.id)):
        assert each.client_data() == data
    assert client.run(BELL2, shots=10).client_data() == b""
    with pytest.raises(InvalidRequest, match=r"client_data.*1048576"):
        client.run(BELL2, shots=10, client_data=data + b"1")


def test_rerun(client: Client) -> None:
    first = client.run(BELL2, seed=9, shots=77)
    counts = first.result(WAIT).counts
    again = client.rerun(first.id)
    assert again.id != first.id
    assert again.result(WAIT).counts == counts


def test_cancel(client: Client) -> None:
    job = client.run([layered(16, 10, seed=k) for k in range(60)], shots=100)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.results(WAIT)
    assert job.cancel().state == JobState.JOB_STATE_CANCELLED


def test_jobs_are_selected_changed_and_ordered_by_filter(client: Client) -> None:
    series = uuid.uuid4().hex
    labels = {"series": series, 'a "b*"': "\\"}
    made = [client.run(BELL2, shots=10 + k, name=f"{k} of {series}", labels=labels) for k in range(3)]
    for job in made:
        job.result(timeout=90)
    ids = [job.id for job in made]
    assert [job.id for job in client.jobs(labels=labels)] == ids[::-1]
    assert [job.id for job in client.jobs(labels=labels, order_by="name")] == ids
    assert [job.id for job in client.jobs("shots > 10 OR shots < 5", labels=labels, order_by="id")] == ids[1:]
    assert client.cancel_jobs(labels=labels) == MatchingJobs()
    preview = client.delete_jobs(f'name = "*{series}" AND NOT shots = 11', validate_only=True)
    assert (preview.count, preview.job_ids) == (2, [ids[2], ids[0]])
    assert client.delete_jobs(f'name = "*{series}" AND NOT shots = 11') == preview
    assert [job.id for job in client.jobs(labels=labels)] == [ids[1]]
    with pytest.raises(InvalidRequest, match="at least 1 characters"):
        client.delete_jobs()
    with pytest.raises(InvalidRequest, match="The fields are state"):
        client.cancel_jobs("colour = 3")


def test_deployments_have_labels(client: Client) -> None:
    labels = {"series": uuid.uuid4().hex}
    made = client.deploy(BELL2, labels=labels)
    assert dict(made.labels) == labels
    assert [each.id for each in client.deployments(labels=labels, order_by="name")] == [made.id]
    assert [each.id for each in client.deployments(f"id = {made.id} AND NOT label:series")] == []


def test_a_calibration_by_name_by_id_and_by_device(client: Client) -> None:
    device = client.named_devices()["IBM/fake_manila"]
    found = client.calibration("IBM/fake_manila")
    assert [qubit.qubit for qubit in found.qubits] == list(range(5))
    assert all(0 < qubit.t1 < 1e-3 and 0 < qubit.prob_0_given_1 < 0.5 for qubit in found.qubits)
    assert {(pair.first, pair.second) for pair in found.coupling_map} >= {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert client.calibration(device.id) == client.calibration(device) == found
    with pytest.raises(PreconditionFailed, match="IBM/aer_simulator has no calibration"):
        client.calibration("IBM/aer_simulator")
    with pytest.raises(NotFound, match="IBM/fake_manila"):
        client.calibration("IBM/nope")


def test_catalogue_and_server(client: Client) -> None:
    assert {"IBM", "AWS", "GOOGLE"} <= {provider.name for provider in client.providers()}
    assert any(device.name == "aer_simulator" and device.available for device in client.devices())
    assert all(device.is_simulator for device in client.devices("is_simulator = true"))
    info = client.info()
    assert info.version
    assert info.limits.max_shots > 0
    assert all(worker.server and worker.provider for worker in client.workers())
