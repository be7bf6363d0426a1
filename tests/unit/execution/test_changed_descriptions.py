# SPDX-License-Identifier: Apache-2.0
"""A server stores the descriptions of machines that come and go, also those that change while its database is away."""

from __future__ import annotations

import queue

from qonduit.execution.v1.machine_pb2 import MachineHello, MachineMessage, ProviderDescribed
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.errors import Unavailable
from qonduit_server.execution.celery.celery_executor import CeleryExecutor
from qonduit_server.execution.celery.messages import VERSION
from tests.unit.execution.pool_fixture import PATIENCE


def _description() -> ProviderDescription:
    return ProviderDescription(provider=Provider(name="IBM"), devices=[Device(name="aer_simulator", available=True)])


def test_a_description_that_the_database_does_not_take_is_stored_later() -> None:
    stored: queue.Queue[ProviderDescription] = queue.Queue()
    attempts = iter(range(100))

    def store(description: ProviderDescription) -> None:
        description.devices.add(name="changed by the server")
        if next(attempts) == 0:
            raise Unavailable("the database is away", retry_after=1)
        stored.put(description)

    # No broker listens there: the messages of the machine come from this test.
    executor = CeleryExecutor("amqp://guest@127.0.0.1:1//", ["IBM"], keys=KeyRing(), on_description=store)
    executor.launch()
    try:
        (absent,) = executor.descriptions(0)
        assert absent.unavailable
        hello = MachineHello(request_queue="requests", task_queue="tasks", host="host")
        executor.receive(MachineMessage(version=VERSION, machine="m", hello=hello).SerializeToString())
        described = ProviderDescribed(description=_description())
        message = MachineMessage(version=VERSION, machine="m", session=1, sequence=1, described=described)
        executor.receive(message.SerializeToString())
        assert stored.get(timeout=PATIENCE).devices[0].name == "aer_simulator"
        assert executor.descriptions(0) == [_description()]
    finally:
        executor.stop(PATIENCE)
