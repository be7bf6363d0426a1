# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus evaluates alerts and dashboard on a real server; the guide has a runbook for each alert."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from qonduit_client import Client, JobFailed
from qonduit_client.cli import commands
from tests.benchmarks.programs import BELL
from tests.e2e.test_metrics import DEVICE, GUIDE, url_of, working
from tests.prometheus import DEPLOY, Prometheus, find_tools, scraping
from tests.server_process import serving

ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
BOARD = json.loads((DEPLOY / "grafana" / "qonduit.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
_METRIC = re.compile(r"\b(?:qonduit|process)_\w+")


def expressions() -> list[str]:
    """Return the expressions of the dashboard, with values in place of Grafana's variables."""
    found = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [each.replace("$__rate_interval", "1m").replace("$instance", ".*") for each in found]


@pytest.mark.parametrize("arguments", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_accepts_the_configuration_and_the_tests_of_the_alerts(arguments: list[str]) -> None:
    find_tools()
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test_that_fires_it_and_one_that_does_not() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for fires in (True, False):
        tested = {case["alertname"] for case in cases if bool(case.get("exp_alerts")) is fires}
        assert tested == {alert["alert"] for alert in ALERTS}


def test_the_guide_has_a_runbook_for_each_alert_and_for_no_other() -> None:
    section = GUIDE.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == [alert["alert"] for alert in ALERTS]
    for runbook in re.split(r"^### \w+$", section, flags=re.MULTILINE)[1:]:
        assert "**Meaning.**" in runbook
        assert "**Do.**" in runbook


def test_the_commands_of_the_runbooks_exist() -> None:
    section = GUIDE.read_text().partition("\n## Alerts\n")[2]
    named = set(re.findall(r"`qonduit (?:--server \S+ )?([a-z-]+)", section))
    assert len(named) >= 5
    known = commands.qonduit.list_commands(click.Context(commands.qonduit))
    assert named <= set(known)


def exported(url: str) -> set[str]:
    """Return the names of all samples that the endpoint can have."""
    with urllib.request.urlopen(url, timeout=60) as response:
        types = re.findall(r"^# TYPE (\w+) (\w+)$", response.read().decode(), re.MULTILINE)
    suffixes = ("_bucket", "_sum", "_count")
    return {f"{name}{suffix}" for name, kind in types for suffix in (suffixes if kind == "histogram" else ("",))}


def work(target: str) -> None:
    """Run jobs that succeed, fail, and lose their worker, so that each metric has a value."""
    with Client(target) as client:
        # More than workers take at once, so that jobs wait and are claimed later.
        for job in [client.run(BELL, DEVICE, 100) for _ in range(40)]:
            job.result(timeout=100)
        with pytest.raises(JobFailed):
            client.run(f"{BELL} wrong q[0];", DEVICE, 100).result(timeout=100)
        gates = " ".join(f"h q[{k % 24}]; rx(0.1) q[{k % 24}];" for k in range(4000))
        job = client.run(f"OPENQASM 3; qubit[24] q; bit[24] c; {gates} c = measure q;", DEVICE, 10)
        os.kill(working(client), signal.SIGKILL)
        job.cancel()
        job.wait(timeout=100)


def finite(values: list[float]) -> bool:
    return bool(values) and all(math.isfinite(value) for value in values)


def test_every_expression_of_the_dashboard_has_values_on_a_working_server(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    settings = {"metrics_address": "127.0.0.1:0", "otlp_endpoint": "http://127.0.0.1:9"}
    with serving(database, log=tmp_path / "log", providers="IBM", **settings) as server:
        url = url_of(server)
        address = url.removeprefix("http://").removesuffix("/metrics")
        names = exported(url)
        with scraping(tmp_path, [address]) as prometheus, Client(server.target) as client:
            client.run(BELL, DEVICE, 10, schedule={"not_before": datetime.now(UTC) + timedelta(days=1)})
            work(server.target)  # so that each time series exists
            prometheus.wait_for(lambda it: it.values('qonduit_jobs_ended_total{state="cancelled"} == 1'))
            work(server.target)  # so that each one increases
            prometheus.wait_for(lambda it: it.values('qonduit_jobs_ended_total{state="cancelled"} == 2'))
            check_expressions(prometheus, names)
            check_alerts(prometheus, server.process.pid)


def check_expressions(prometheus: Prometheus, names: set[str]) -> None:
    expected = expressions()
    assert len(expected) >= len(PANELS) > 15
    for expression in expected:
        unknown = set(_METRIC.findall(expression)) - names
        assert not unknown, f"{expression}: {unknown}"
        prometheus.wait_for(lambda it, expression=expression: finite(it.values(expression)), expression)


def check_alerts(prometheus: Prometheus, pid: int) -> None:
    def rules() -> dict[str, Any]:
        (group,) = prometheus.get("rules")["groups"]
        return {rule["name"]: rule for rule in group["rules"]}

    prometheus.wait_for(lambda _: all(rule["health"] == "ok" for rule in rules().values()))
    assert list(rules()) == [alert["alert"] for alert in ALERTS]
    states = {name: rule["state"] for name, rule in rules().items()}
    # Workers were killed, and nothing else is wrong. A job that loses its worker runs again.
    assert {name for name, state in states.items() if state != "inactive"} <= {
        "QonduitWorkersDie",
        "QonduitTelemetryLost",
    }
    os.kill(pid, signal.SIGSTOP)
    try:
        prometheus.wait_for(lambda _: rules()["QonduitServerDown"]["state"] in ("pending", "firing"))
    finally:
        os.kill(pid, signal.SIGCONT)


def test_alerts_name_metrics_and_settings_that_exist(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(database, log=tmp_path / "log", providers="IBM", metrics_address="127.0.0.1:0") as server:
        names = exported(url_of(server))
    for alert in ALERTS:
        assert not set(_METRIC.findall(alert["expr"])) - names, alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning")


def test_panels_are_described_and_do_not_overlap() -> None:
    places = set()
    for panel in PANELS:
        assert panel["description"]
        grid = panel["gridPos"]
        across, down = range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
        cells = {(x, y) for x in across for y in down}
        assert not cells & places, panel["title"]
        places |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
