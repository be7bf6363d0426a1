# SPDX-License-Identifier: Apache-2.0
"""Database URLs with several hosts, in the forms of libpq and of SQLAlchemy."""

from __future__ import annotations

import pytest

from qonduit_server.store.engines import make_engine, parse_url

ONLY_PRIMARY = "target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("url", "hosts", "ports"),
    [
        (f"postgresql://me:secret@one:5432,two:5433/jobs?{ONLY_PRIMARY}", "one,two", "5432,5433"),
        (f"postgres://me:secret@10.0.0.1,10.0.0.2,10.0.0.3/jobs?{ONLY_PRIMARY}", "10.0.0.1,10.0.0.2,10.0.0.3", ",,"),
        (f"postgresql+psycopg://me:secret@/jobs?host=one:5432&host=two&{ONLY_PRIMARY}", "one,two", "5432,"),
    ],
)
def test_the_driver_receives_every_host(url: str, hosts: str, ports: str) -> None:
    engine = make_engine(parse_url(url))
    _, options = engine.dialect.create_connect_args(engine.url)
    assert (options["host"], options.get("port", ",,")) == (hosts, ports)
    assert (options["user"], options["password"], options["dbname"]) == ("me", "secret", "jobs")
    assert options["target_session_attrs"] == "read-write"


def test_one_host_and_a_password_with_a_comma_are_left_as_they_are() -> None:
    assert parse_url("postgresql://me:a%2Cb@one:5432/jobs").password == "a,b"
    assert parse_url("postgresql://me:a,b@one:5432/jobs").host == "one"
