# SPDX-License-Identifier: Apache-2.0
"""Two servers on one PostgreSQL offer different providers and devices: both show all, each runs only its own."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest

from qonduit.v1.job_pb2 import JobState, QueueReason
from qonduit_client import Client
from qonduit_client.errors import PreconditionFailed
from qonduit_client.job import JobHandle
from tests.contract.rpc_fixture import BELL, until
from tests.postgresql import PostgresqlServer
from tests.server_process import Server, serving

WAIT = 100.0
LEASE = {"lease_seconds": "2", "workers": "1"}
SMALL = {**LEASE, "providers": "IBM"}
LARGE = {**LEASE, "providers": "IBM,STIM", "fake_backends": "default,fake_kyiv"}
OF_BOTH = "IBM/aer_simulator"
OF_LARGE = ("STIM/stim", "IBM/fake_kyiv")
NOT_OFFERED = "no running server or worker machine offers it"


def devices(server: Server) -> dict[str, str]:
    """Return the status of each device: empty if it is available."""
    with Client(server.target) as client:
        found = client.named_devices()
    return {name: "" if device.available else device.status_message for name, device in found.items()}


def waits_for_its_device(job: JobHandle) -> bool:
    queue = job.job().queue
    return (queue.reason, queue.message) == (
        QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE,
        NOT_OFFERED,
    )


@pytest.mark.timeout(300)
def test_each_server_shows_all_devices_and_runs_the_jobs_of_its_own(postgresql: PostgresqlServer) -> None:
    url = postgresql.url(postgresql.new_database())
    with ExitStack() as stack:
        small = stack.enter_context(serving(url, **SMALL))
        assert not set(OF_LARGE) & set(devices(small))
        large = stack.enter_context(serving(url, **LARGE))
        until(lambda: devices(small) == devices(large))
        assert [devices(small)[name] for name in (OF_BOTH, *OF_LARGE)] == [""] * 3
        with Client(small.target) as here, Client(large.target) as there:
            # The small server is idle each time, and claims none of these.
            for client in (here, there):
                for device in (*OF_LARGE, OF_BOTH):
                    job = client.run(BELL, device=device, shots=10)
                    assert job.wait(WAIT).state == JobState.JOB_STATE_SUCCEEDED, (device, job.job().failure)
            large.process.send_signal(signal.SIGKILL)
            large.process.wait(WAIT)
            # The device is offered until the lease of its server ends.
            waiting = [here.run(BELL, device=device, shots=10) for device in OF_LARGE]
            until(lambda: all(devices(small)[name] == NOT_OFFERED for name in OF_LARGE))
            assert devices(small)[OF_BOTH] == ""
            until(lambda: all(waits_for_its_device(job) for job in waiting))
            with pytest.raises(PreconditionFailed, match="STIM/stim"):
                here.run(BELL, device="STIM/stim", shots=10)
            assert here.run(BELL, device=OF_BOTH, shots=10).wait(WAIT).state == JobState.JOB_STATE_SUCCEEDED
            stack.enter_context(serving(url, **LARGE))
            for job in waiting:
                assert job.wait(WAIT).state == JobState.JOB_STATE_SUCCEEDED, job.job().failure
            assert [devices(small)[name] for name in (OF_BOTH, *OF_LARGE)] == [""] * 3
