# SPDX-License-Identifier: Apache-2.0
"""The files of deploy/ agree with the settings and with systemd. `make deploy` runs them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from qonduit_server.setting_values import settings_by_name
from qonduit_server.settings import Settings
from qonduit_server.shutdown import LEEWAY_SECONDS
from tests.missing_components import lacking

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: The exposure of `systemd-analyze security`, from 0 to 100; above 20 it would be more than "OK".
MOST_EXPOSED = 20


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        lacking("the units of deploy/systemd", "systemd-analyze")
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units(tmp_path: Path, unit: Path) -> None:
    # Its program is installed nowhere here.
    text = unit.read_text()
    assert text.count("/opt/qonduit/bin/qonduit") == 1
    copy = tmp_path / unit.name
    copy.write_text(text.replace("/opt/qonduit/bin/qonduit", "/bin/sh"))
    done = analyze("verify", "--man=no", copy)
    assert (done.returncode, done.stderr) == (0, "")
    copy.write_text(text.replace("ProtectHome=yes", "ProtectHome=perhaps"))
    assert "protect home" in analyze("verify", "--man=no", copy).stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units_are_sandboxed(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)
    assert done.returncode == 0, done.stdout


def test_the_times_to_stop_leave_room_for_a_drain() -> None:
    needed = Settings().drain_seconds + LEEWAY_SECONDS
    for unit in UNITS:
        assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)[0]) >= needed
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name in ("server", "worker"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= needed


def test_the_units_have_one_sandbox() -> None:
    sandboxes = {unit.read_text().partition("\nUser=")[2] for unit in UNITS}
    assert len(UNITS) == 2
    assert len(sandboxes) == 1


def test_the_files_name_real_settings() -> None:
    known = {f"QONDUIT_{name.upper()}" for name in settings_by_name()}
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    used = {name for each in services.values() for name in each["environment"] if name.startswith("QONDUIT_")}
    assert used
    assert used <= known
    in_image = re.findall(r"'(\w+) = ", (DEPLOY / "Containerfile").read_text())
    assert in_image
    assert set(in_image) <= set(settings_by_name())


def test_the_guide_explains_each_panel_of_the_dashboard() -> None:
    guide = (ROOT / "docs" / "dashboard.md").read_text()
    panels = json.loads((DEPLOY / "grafana" / "qonduit.json").read_text())["panels"]
    expected = [panel["title"] for panel in panels if panel["type"] != "row"]
    assert re.findall(r"^\| (?!panel|---)([^|]+) \|", guide, re.MULTILINE) == expected
    sections = re.findall(r"^## (.+)$", guide, re.MULTILINE)
    assert sections[:-1] == [panel["title"] for panel in panels if panel["type"] == "row"]
