# SPDX-License-Identifier: Apache-2.0
"""One real server for the clients of all languages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server_process import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one provider, without reflection: stubs need none."""
    folder = tmp_path_factory.mktemp("languages")
    with serving(f"sqlite:///{folder}/qonduit.db", log=folder / "log", providers="IBM", reflection="off") as running:
        yield running
