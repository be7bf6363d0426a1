# SPDX-License-Identifier: Apache-2.0
"""One real server for all tests of adapters, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qonduit_client import Client
from tests.server_process import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all providers."""
    folder = tmp_path_factory.mktemp("adapters")
    with serving(f"sqlite:///{folder}/qonduit.db", log=folder / "log") as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[Client]:
    """A client of that server."""
    with Client(server.target) as connected:
        yield connected
