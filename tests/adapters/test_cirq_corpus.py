# SPDX-License-Identifier: Apache-2.0
"""The corpus' programs of Cirq through the sampler, beside `cirq.Simulator`."""

from __future__ import annotations

import cirq
import pytest

from qonduit_client import Client
from qonduit_client.cirq import QonduitSampler
from tests.adapters.agreement import agree
from tests.adapters.test_cirq import FEWER, SHOTS, outcomes
from tests.corpus.programs import Entry, entries

ALL = list(entries("exact", "cirq"))
#: Every eighth of the small ones; `make adapters` runs all.
FEW = [entry for entry in ALL if entry.qubits <= 8][::8]


def _judge(entry: Entry, client: Client) -> None:
    circuit = cirq.read_json(json_text=entry.path.read_text())
    sampler = QonduitSampler(client, seed=7)
    if not circuit.has_measurements():
        with pytest.raises(ValueError, match="no measurements"):
            sampler.run(circuit, entry.inputs, SHOTS)
        return
    ours = sampler.run(circuit, entry.inputs, SHOTS)
    theirs = cirq.Simulator(seed=5).run(circuit, entry.inputs, FEWER)
    assert list(ours.records) == list(theirs.records)
    for key, record in theirs.records.items():
        assert (ours.records[key].shape[1:], ours.records[key].dtype) == (record.shape[1:], record.dtype)
    assert agree(outcomes(ours), outcomes(theirs))


@pytest.mark.parametrize("entry", FEW, ids=[entry.file for entry in FEW])
def test_some_programs(entry: Entry, client: Client) -> None:
    _judge(entry, client)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("entry", ALL, ids=[entry.file for entry in ALL])
def test_all_programs(entry: Entry, client: Client) -> None:
    _judge(entry, client)
