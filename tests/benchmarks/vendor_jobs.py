# SPDX-License-Identifier: Apache-2.0
"""What jobs that wait at a vendor cost their server: memory, threads, and polls. The vendor is a process on loopback.

`python -m tests.benchmarks.vendor_jobs waiting 1` submits 10,000 jobs (VENDOR_JOBS) and prints a line of JSON for each
figure.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.vendor_cloud.served_vendor import ServedVendor, served_vendor

JOBS: Final = int(os.environ.get("VENDOR_JOBS", "10000"))
#: Of the measurement of polls.
_SECONDS: Final = 20.0
_PATIENCE: Final = 1800.0
_PROVIDER: Final = "CLOUD_TOKEN"


def _until(reached: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise RuntimeError(f"not reached within {seconds:g} s")
        time.sleep(0.2)


def _threads(served: ServedVendor) -> int:
    return len(list(Path(f"/proc/{served.server.process.pid}/task").iterdir()))


def waiting(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the figures of jobs that wait at the vendor."""
    terms = {"poll_seconds": 2.0, "max_poll_seconds": 60.0, "submit_seconds": 60.0, "call_seconds": 60.0}
    with served_vendor(folder, terms=terms, providers=_PROVIDER, log_level="error") as served:
        assert served.run(_PROVIDER).provider_specific_id
        served.vendor.control(hold=True)
        memory, threads = served.server.resident(), _threads(served)
        begun = time.perf_counter()
        for _ in range(JOBS):
            served.create(_PROVIDER)
        _until(lambda: served.vendor.requests("submit") > JOBS)
        seconds = time.perf_counter() - begun
        what = f"{JOBS:,} jobs that wait at a vendor"
        yield {"what": f"{what}: submitted", "unit": "jobs/s", "goal": "", "ours": [JOBS / seconds]}
        grown = (served.server.resident() - memory) / JOBS / 1024
        yield {"what": f"{what}: memory of the server for each", "unit": "KiB", "goal": "", "ours": [grown]}
        more = _threads(served) - threads
        yield {"what": f"{what}: further threads", "unit": "threads", "goal": "0", "ours": [more]}
        before, begun, used = served.vendor.requests("poll"), time.perf_counter(), served.server.cpu()
        time.sleep(_SECONDS)
        polls, elapsed = served.vendor.requests("poll") - before, time.perf_counter() - begun
        rate = polls / elapsed
        yield {"what": f"{what}: polls, each of at most 50 jobs", "unit": "polls/s", "goal": "", "ours": [rate]}
        share = (served.server.cpu() - used) / elapsed * 100
        yield {"what": f"{what}: processor time of all processes", "unit": "%", "goal": "", "ours": [share]}


def main(kind: str, rounds: int) -> None:
    """Measure one kind."""
    assert kind == "waiting"
    del rounds  # the jobs are many
    with tempfile.TemporaryDirectory() as folder:
        for line in waiting(Path(folder)):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
