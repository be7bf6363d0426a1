# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from qonduit_server.store import migrations
from qonduit_server.store.database import Database, open_database
from tests import rabbitmq as rabbitmq_broker
from tests import server_process
from tests import slurm as slurm_cluster
from tests.missing_components import pytest_terminal_summary  # noqa: F401 - pytest finds the hook here
from tests.oidc_provider import oidc  # noqa: F401 - a fixture
from tests.postgresql import PostgresqlServer, start_or_skip
from tests.sqlite_template import new_sqlite
from tests.warm_server import warm_servers

pytest_plugins = ("tests.long_forms", "tests.process_leftovers", "tests.rotating_oidc")

# The same examples every time, and no deadlines: machines differ in speed and load.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

# Neither the configurations nor the logins of the person who runs the tests; processes of tests inherit both.
os.environ["QONDUIT_CONFIG"] = os.environ["QONDUIT_SERVER_CONFIG"] = os.devnull

# Under nohup, children inherit SIG_IGN for SIGHUP, and a server keeps it; a handler is not inherited.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Make millions of objects that stay, and keep the collector from traversing them, now and during the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def warm_server(nothing_is_left_behind: None) -> Iterator[None]:
    """Servers start by a fork."""
    with warm_servers() as server_process.warm:
        yield
    server_process.warm = None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running PostgreSQL server."""
    server = start_or_skip()
    yield server
    server.close()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[rabbitmq_broker.RabbitmqBroker]:
    """A running RabbitMQ."""
    broker = rabbitmq_broker.start_or_skip()
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def slurm() -> Iterator[slurm_cluster.SlurmCluster]:
    """A running Slurm."""
    cluster = slurm_cluster.start_or_skip()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresqlServer) -> str:
    """Return the name of an empty, migrated database to clone."""
    name = postgresql.new_database()
    migrations.upgrade(postgresql.url(name))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database, of each kind."""
    if request.param == "sqlite":
        yield new_sqlite(tmp_path / "qonduit.sqlite3")
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    name = server.new_database(request.getfixturevalue("postgresql_template"))
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """An open database, of each kind."""
    database = open_database(database_url)
    yield database
    database.close()
