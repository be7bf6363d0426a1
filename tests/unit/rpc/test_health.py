# SPDX-License-Identifier: Apache-2.0
"""Health watchers are notified when the server drains, in every state of their streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from qonduit_server.rpc.health import Health

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


class Held:
    """A stream whose sends complete when the test completes them."""

    def __init__(self) -> None:
        self.sending_since = 0.0
        self.sent: list[int] = []
        self.ended = False
        self._through: Callable[[], None] | None = None

    def on_close(self, callback: Callable[[], None]) -> bool:
        return True

    def send(self, message: bytes, done: Callable[[], None]) -> bool:
        self.sent.append(HealthCheckResponse.FromString(message).status)
        self.sending_since, self._through = 1.0, done
        return True

    def through(self) -> None:
        assert self._through is not None
        self.sending_since = 0.0
        self._through()

    def finish(self, message: bytes) -> None:
        assert not self.ended, "ended twice"
        assert not self.sending_since, "a message was sent before the previous send completed"
        self.sent.append(HealthCheckResponse.FromString(message).status)
        self.ended = True


def watching(health: Health, service: str = "") -> Held:
    stream: Any = Held()
    call: Any = None
    health.watch(HealthCheckRequest(service=service), call, stream)
    return stream  # type: ignore[no-any-return]


@pytest.mark.parametrize("first", ["the send", "the drain"])
def test_a_watcher_gets_the_final_status_once_its_first_send_completed(first: str) -> None:
    health = Health(["a"])
    stream = watching(health, "a")
    for step in (stream.through, health.drain) if first == "the send" else (health.drain, stream.through):
        assert not stream.ended
        step()
    assert stream.sent == [SERVING, NOT_SERVING]
    health.drain()


def test_a_new_watcher_during_a_drain_gets_not_serving() -> None:
    health = Health(["a"])
    health.drain()
    stream = watching(health, "a")
    stream.through()
    assert stream.sent == [NOT_SERVING]
    assert not stream.ended


def test_services_are_not_serving_while_the_database_is_down_and_the_server_is_live() -> None:
    health = Health(["a"])
    service, whole = watching(health, "a"), watching(health)
    call: Any = None
    for stream in (service, whole):
        stream.through()
    health.set_database_available(False)
    assert service.sent == [SERVING, NOT_SERVING]
    assert health.check(HealthCheckRequest(service="a"), call).status == NOT_SERVING
    assert health.check(HealthCheckRequest(), call).status == SERVING
    late = watching(health, "a")
    health.set_database_available(True)
    # Each status is sent once the previous send completed, even if it was reverted meanwhile.
    assert late.sent == [NOT_SERVING]
    for stream in (service, late):
        stream.through()
    assert service.sent == [SERVING, NOT_SERVING, SERVING]
    assert late.sent == [NOT_SERVING, SERVING]
    for stream in (service, late):
        stream.through()
    health.drain()
    assert whole.sent == [SERVING, NOT_SERVING]
    assert service.sent[-1] == late.sent[-1] == NOT_SERVING
    assert whole.ended
    assert service.ended
