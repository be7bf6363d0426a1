# SPDX-License-Identifier: Apache-2.0
"""A scripted server and both clients, with almost no delay between retries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qonduit_client.client import Client
from qonduit_client.retry import Retry
from tests.both_clients import BOTH_CLIENTS, Connect
from tests.unit.client.peer import Peer, serving_peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Yield a scripted server."""
    with serving_peer() as running:
        yield running


@pytest.fixture(params=BOTH_CLIENTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a client factory: blocking, and asyncio."""
    return BOTH_CLIENTS[request.param]


@pytest.fixture
def client(peer: Peer, connect: Connect) -> Iterator[Client]:
    """Yield a client of the peer."""
    with connect(peer.target, timeout=20, retry=Retry(first=0.001, most=0.005)) as connected:
        yield connected
