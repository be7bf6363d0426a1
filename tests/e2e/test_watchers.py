# SPDX-License-Identifier: Apache-2.0
"""Many watchers of a real server: each receives all events, stalled ones delay no other, and no resource leaks.

The short form of `make watchers`.
"""

from __future__ import annotations

from pathlib import Path

from tests.server_process import serving
from tests.watchers.measure import Figures, Size, measure

SIZE = Size(streams=1000, connections=10, processes=1, jobs=20, programs=2, mute=10, quiet=10, probes=30)


def test_each_of_many_watchers_receives_every_event_and_all_resources_are_freed(tmp_path: Path) -> None:
    settings = {
        "providers": "IBM",
        "stream_send_timeout_seconds": "3",
        # Exactly this many: if the streams of killed clients were not released, the next ones would be refused.
        "max_streams": str(SIZE.streams + SIZE.mute + SIZE.quiet),
    }
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", log=tmp_path / "log", **settings) as server:
        figures = measure(server, SIZE)
    seen = _shown(figures)
    assert figures.wrong == [], seen
    # No stream was refused while thousands were opened at once, and the last of each ended with OK.
    assert dict(figures.codes) == {"OK": SIZE.streams}, seen
    assert figures.whole == SIZE.streams, seen
    assert figures.mute_cut == SIZE.mute, seen
    assert figures.threads < 64, seen
    assert figures.resident < 300 * 2**20, seen
    assert figures.left_sockets <= 0, seen
    # Threads that wait for calls, up to their bound; no thread belongs to a stream.
    assert figures.left_threads < 36, seen
    assert '"reason":"SLOW_READER"' in (tmp_path / "log").read_text()


def _shown(figures: Figures) -> str:
    return "\n".join(f"{what}: {figure}" for what, figure in figures.rows)
