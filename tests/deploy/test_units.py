# SPDX-License-Identifier: Apache-2.0
"""The units of deploy/systemd under a real systemd, installed without a network (`make deploy`)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest

from tests.deploy.containers import BASE, ROOT, WHEELS, require, succeed
from tests.deploy.machine import Machine, machine

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

_SECONDS = 120
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;\n'
SOURCE = """from qiskit import QuantumCircuit
circuit = QuantumCircuit(1, 1)
circuit.x(0)
circuit.measure(0, 0)
"""
DEVICES = ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator", "STIM/stim", "AWS/braket_dm")


def documented(section: str) -> list[str]:
    """Return the commands in a section of the guide, one text for each block."""
    guide = (ROOT / "docs" / "deploying.md").read_text()
    text = guide.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Install a server on a machine with the commands of the guide, and start it."""
    require("systemd-nspawn", "nsenter")
    folder = tmp_path_factory.mktemp("machine")
    root = folder / "root"
    root.mkdir()
    succeed(["tar", "--extract", "--file", str(BASE), "--directory", str(root)])
    (root / "root" / "bell.qasm").write_text(BELL)
    (root / "root" / "source.py").write_text(SOURCE)
    mounts = (f"{WHEELS}:/root/wheels", f"{ROOT / 'deploy'}:/root/deploy")
    with machine(root, folder / "console", *mounts) as found:
        (install,) = documented("Without a network")
        found.succeed(install)
        first, *_ = documented("systemd")
        found.succeed(first)
        yield found


def state(found: Machine) -> dict[str, str]:
    """Return the state of the service."""
    shown = found.succeed("systemctl show qonduit -p ActiveState -p Result -p StatusText -p MainPID -p NRestarts")
    return dict(line.split("=", 1) for line in shown.splitlines())


def run(found: Machine, program: str, *options: str) -> str:
    """Run a program with the installed client."""
    return found.succeed(f"/opt/qonduit/bin/qonduit run {program} --shots 100 {' '.join(options)}")


def wait_for_log(found: Machine, text: str) -> None:
    """Wait until the service has logged a text."""
    deadline = time.monotonic() + _SECONDS
    while text not in (log := found.succeed("journalctl -u qonduit -o cat")):
        assert time.monotonic() < deadline, log
        threading.Event().wait(0.2)


def test_the_service_is_active_when_it_accepts_calls(installed: Machine) -> None:
    found = state(installed)
    assert (found["ActiveState"], found["StatusText"]) == ("active", "serving on 127.0.0.1:50051")


@pytest.mark.parametrize("device", DEVICES)
def test_its_sandbox_allows_what_simulators_need(installed: Machine, device: str) -> None:
    assert "100 shots" in run(installed, "bell.qasm", "--device", device)


def test_its_sandbox_holds(installed: Machine) -> None:
    status = installed.succeed('cat "/proc/$(systemctl show -P MainPID qonduit)/status"')
    found = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2"
    assert {found[each].strip("0") for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert found["Uid"].split()[0] == installed.succeed("id -u qonduit").strip() != "0"
    enter = "nsenter --mount --target=$(systemctl show -P MainPID qonduit) --"
    refused = installed.execute(f"{enter} touch /etc/qonduit/x /opt/qonduit/x /usr/x")
    assert refused.stderr.count("Read-only file system") == 3
    assert installed.succeed(f"{enter} stat -c %a /var/lib/qonduit/qonduit.sqlite3").strip() == "600"


def test_the_sandbox_of_source_works_inside_it(installed: Machine) -> None:
    installed.succeed("echo 'enable_python_source = [\"QISKIT\"]' > /etc/qonduit/server.toml")
    installed.succeed("systemctl restart qonduit")
    assert "100 shots" in run(installed, "source.py", "--language", "qiskit")


def test_a_reload_adopts_the_file(installed: Machine) -> None:
    installed.succeed("echo 'max_shots = 50' >> /etc/qonduit/server.toml && systemctl reload qonduit")
    wait_for_log(installed, '"changed":["max_shots"]')
    refused = installed.execute("/opt/qonduit/bin/qonduit run bell.qasm --shots 51")
    assert "max_shots" in refused.stderr
    installed.succeed("echo > /etc/qonduit/server.toml && systemctl reload qonduit")
    wait_for_log(installed, '"needs_restart":["enable_python_source"]')
    assert state(installed)["ActiveState"] == "active"


def test_a_killed_server_is_started_again(installed: Machine) -> None:
    before = state(installed)
    installed.succeed("systemctl kill --kill-who=main --signal=KILL qonduit")
    deadline = time.monotonic() + _SECONDS
    while (now := state(installed))["ActiveState"] != "active" or now["MainPID"] == before["MainPID"]:
        assert time.monotonic() < deadline, now
        threading.Event().wait(0.2)
    assert "100 shots" in run(installed, "bell.qasm")


def test_the_service_stops_in_order(installed: Machine) -> None:
    installed.succeed("systemctl stop qonduit")
    found = state(installed)
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success")
    wait_for_log(installed, '"event":"stopped"')
    assert installed.succeed('grep -l "^Uid:.$(id -u qonduit)" /proc/[0-9]*/status || true') == ""
