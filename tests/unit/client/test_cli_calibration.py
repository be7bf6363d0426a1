# SPDX-License-Identifier: Apache-2.0
"""`qonduit devices DEVICE`: the summary of a calibration, its JSON, and devices without one."""

from __future__ import annotations

import json

import grpc
import pytest
from click.testing import CliRunner, Result

from qonduit.v1.calibration_pb2 import DeviceCalibration, GateCalibration, QubitCalibration
from qonduit_client.cli.commands import qonduit
from tests.unit.client.peer import Peer, Refusal

NAME = "IBM/aer_simulator"


def call(peer: Peer, *arguments: str) -> Result:
    """Run `qonduit devices` against the peer."""
    return CliRunner().invoke(qonduit, ["--server", peer.target, "devices", *arguments])


@pytest.fixture
def measured(peer: Peer) -> Peer:
    """Return a peer whose device has a calibration with some unknown properties."""
    peer.calibration = DeviceCalibration(
        qubits=[
            QubitCalibration(qubit=0, t1=1e-4, t2=5e-5, prob_1_given_0=0.01, prob_0_given_1=0.03),
            QubitCalibration(qubit=1, t1=3e-4, prob_1_given_0=0.0, prob_0_given_1=0.0),
            QubitCalibration(qubit=2, t1=2e-4, prob_1_given_0=0.5),
        ],
        gates=[
            GateCalibration(gate="x", qubits=[0], error=0.9),
            GateCalibration(gate="cx", qubits=[0, 1], error=0.01),
            GateCalibration(gate="cx", qubits=[1, 0], error=0.02),
            GateCalibration(gate="cx", qubits=[1, 2]),
        ],
    )
    return peer


def test_the_summary_of_what_is_known(measured: Peer) -> None:
    done = call(measured, NAME)
    assert done.exit_code == 0, done.output
    device, _, summary = done.stdout.partition("\n\n")
    assert NAME in device
    assert [line.split() for line in summary.splitlines()] == [
        ["calibration", "of", NAME],
        ["PROPERTY", "MEDIAN", "BEST", "WORST", "OF"],
        ["T1", "200.0", "us", "300.0", "us", "100.0", "us", "3", "qubits"],
        ["T2", "50.0", "us", "50.0", "us", "50.0", "us", "1", "qubits"],
        ["readout", "error", "0.0100", "0.0000", "0.0200", "2", "qubits"],
        ["cx", "error", "0.0150", "0.0100", "0.0200", "2", "gates"],
    ]


def test_json_contains_the_whole_calibration(measured: Peer) -> None:
    found = json.loads(call(measured, NAME, "--json").stdout)
    assert (found["device"], found["num_qubits"]) == (NAME, 30)
    assert found["calibration"]["qubits"][2]["prob_1_given_0"] == 0.5
    assert "t2" not in found["calibration"]["qubits"][2]


def test_a_device_without_calibration_is_shown_without_it(peer: Peer) -> None:
    peer.refusals.extend([None, None, Refusal(grpc.StatusCode.FAILED_PRECONDITION, "no", "UNSUPPORTED_BY_DEVICE")])
    done = call(peer, NAME)
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)


def test_errors_name_the_devices_and_the_options(peer: Peer) -> None:
    done = call(peer, "IBM/nope")
    assert done.exit_code == 3
    assert NAME in done.stderr
    assert call(peer, NAME, "--languages").exit_code == 2
