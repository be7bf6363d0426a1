# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus for tests: it scrapes servers each second and evaluates the alerts of the repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.missing_components import lacking
from tests.server_process import free_port

DEPLOY: Final = Path(__file__).resolve().parents[1] / "deploy"
_WAIT: Final = 100.0


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of a response of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=60) as response:
            return json.load(response)["data"]

    def values(self, expression: str) -> list[float]:
        """Return the current values of an expression."""
        return [float(each["value"][1]) for each in self.get("query", query=expression)["result"]]

    def wait_for(self, reached: Callable[[Prometheus], object], what: str = "the condition") -> None:
        """Wait until a condition holds; `what` is its name for the error."""
        deadline = time.monotonic() + _WAIT
        while not reached(self):
            assert time.monotonic() < deadline, f"{what} does not hold"
            time.sleep(0.1)


def find_tools() -> None:
    """Skip the test without Prometheus and promtool; fail it in CI."""
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        lacking("alerts and dashboard", "Prometheus")


@contextmanager
def scraping(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Start a Prometheus that scrapes servers.

    Args:
        folder: for its data.
        targets: HOST:PORT of the metrics of each server.
    """
    find_tools()
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "scrape_configs": [{"job_name": "qonduit", "static_configs": [{"targets": list(targets)}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    running = Prometheus(f"http://{address}")

    def ready(prometheus: Prometheus) -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            return bool(prometheus.values("up == 1"))
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        running.wait_for(ready)
        yield running
    finally:
        process.terminate()
        process.wait(60)
