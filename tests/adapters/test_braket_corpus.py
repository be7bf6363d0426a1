# SPDX-License-Identifier: Apache-2.0
"""The programs of the corpus that Braket's LocalSimulator takes, on it and through the Braket adapter."""

from __future__ import annotations

import re

import pytest
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program

from qonduit_client import Client
from qonduit_client.braket import QonduitDevice
from tests.adapters.agreement import agree
from tests.corpus.programs import Entry, entries

LOCAL = LocalSimulator()
SHOTS = 2000
#: It has no included files. The gates of this one are given to it as definitions, by Braket's names.
_STANDARD = re.compile(r'include\s+"stdgates\.inc"\s*;')
_GATES = """
gate p(a) q { phaseshift(a) q; }
gate sdg q { si q; }
gate tdg q { ti q; }
gate sx q { v q; }
gate cx a, b { cnot a, b; }
gate ccx a, b, c { ccnot a, b, c; }
gate cp(t) a, b { cphaseshift(t) a, b; }
gate id q { i q; }
"""
_LANGUAGES = ("braket", "qasm3")


def _compared(device: QonduitDevice, entry: Entry) -> bool:
    """Whether the local simulator takes the program; ours must then give the same."""
    source = _STANDARD.sub(lambda _: _GATES, entry.path.read_text())
    program = Program(source=source, inputs=entry.inputs or None)
    try:
        theirs = LOCAL.run(program, shots=SHOTS).result()
    except Exception:  # noqa: BLE001  # of any kind
        return False
    ours = device.run(program, shots=SHOTS, seed=11).result(timeout=60)
    assert ours.measured_qubits == theirs.measured_qubits
    assert agree(ours.measurement_counts, theirs.measurement_counts)
    return True


def test_some_programs_of_the_corpus(client: Client) -> None:
    device = QonduitDevice("AWS/local_simulator", client)
    some = list(entries("exact", "braket"))[::6]
    assert sum(_compared(device, entry) for entry in some) == len(some) > 4


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["AWS/local_simulator", "IBM/aer_simulator", "GOOGLE/cirq_simulator"])
def test_all_programs_of_the_corpus(client: Client, name: str) -> None:
    device = QonduitDevice(name, client)
    compared = [
        entry.file
        for language in _LANGUAGES
        for entry in entries("exact", language, mqtbench=True)
        if _compared(device, entry)
    ]
    assert len(compared) > 50
