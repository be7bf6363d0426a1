# SPDX-License-Identifier: Apache-2.0
"""A scripted peer and both clients, which wait almost no time between attempts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qonduit_client.client import Client
from qonduit_client.retry import Retry
from tests.both_clients import TWINS, Connect
from tests.unit.client.peer import Peer, serving_peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that does as it is told."""
    with serving_peer() as running:
        yield running


@pytest.fixture(params=TWINS)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Makes a client: the waiting one, and the one for asyncio."""
    return TWINS[request.param]


@pytest.fixture
def client(peer: Peer, connect: Connect) -> Iterator[Client]:
    """A client of the peer."""
    with connect(peer.target, timeout=20, retry=Retry(first=0.001, most=0.005)) as connected:
        yield connected
