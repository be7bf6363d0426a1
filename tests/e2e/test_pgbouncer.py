# SPDX-License-Identifier: Apache-2.0
"""A loaded server whose reads go through a real PgBouncer, which is killed and suspended."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.load import Load
from tests.pgbouncer import start_or_skip
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

#: Fewer than the threads of a server that read.
CONNECTIONS = 5


@pytest.mark.timeout(300)
def test_reads_go_through_a_pooler_in_transaction_mode(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    name, log = postgresql.new_database(), tmp_path / "log"
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
    with (
        closing(start_or_skip(postgresql, "transaction", CONNECTIONS)) as pooler,
        serving(
            postgresql.url(name),
            log=log,
            database_pooler=pooler.url(name),
            providers="IBM",
            workers="1",
            lease_seconds="60",
        ) as server,
    ):
        with Load(server.target) as load:
            load.wait_until_busy()
            # Those of reads, of the writer and of the listener, and one that the start may not have closed yet.
            ((connections,),) = postgresql.execute(count)
            assert connections <= CONNECTIONS + 3
            pooler.kill()
            load.wait_until_refused()
            pooler.start()
            load.wait_until_served()
            pooler.send(signal.SIGSTOP)
            load.wait_until_refused()
            pooler.send(signal.SIGCONT)
            load.wait_until_served()
        load.check()
        assert load.attempts() == {1}
        assert server.process.poll() is None
    assert "Traceback" not in log.read_text()
    postgresql.drop_database(name)
