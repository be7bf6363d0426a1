# SPDX-License-Identifier: Apache-2.0
"""Programs of the corpus that Qiskit loads: the adapter and Aer on this machine give results of one form and kind."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from qiskit import QuantumCircuit, qpy, transpile
from qiskit.exceptions import QiskitError
from qiskit_aer import AerSimulator

from qonduit_client import Client
from qonduit_client.qiskit import QonduitBackend
from tests.adapters.agreement import agree
from tests.corpus.programs import Entry, entries

SHOTS = 1000
#: QPY (Qiskit 2.6) holds no number of more than 63 bits; Aer 0.18 takes a program's own gate "r" for the one it has.
BEYOND_QISKIT = {"own/qasm2/wide_creg_if.qasm", "own/qasm2/custom_shadows_names2.qasm"}


def loaded(programs: Iterable[Entry]) -> list[QuantumCircuit]:
    """What Qiskit can load of these programs and Aer can run, under their names."""
    found = []
    for entry in programs:
        if entry.file in BEYOND_QISKIT:
            continue
        try:
            if entry.language == "qpy":
                with entry.path.open("rb") as file:
                    (circuit,) = qpy.load(file)
            else:
                circuit = QuantumCircuit.from_qasm_file(str(entry.path))
        except QiskitError:
            continue
        circuit.name = entry.file
        found.append(circuit.assign_parameters(entry.inputs) if entry.inputs else circuit)
    return found


def compare(client: Client, circuits: list[QuantumCircuit]) -> None:
    ours = QonduitBackend(client=client).run(circuits, shots=SHOTS, seed_simulator=1).result(timeout=600)
    aer = AerSimulator()
    natively = transpile(circuits, aer, optimization_level=0)
    theirs = aer.run(natively, shots=SHOTS, seed_simulator=2).result()
    for place, circuit in enumerate(circuits):
        mine, local = ours.results[place], theirs.results[place]
        assert local.success, circuit.name
        for what in ("creg_sizes", "memory_slots", "name"):
            assert mine.header[what] == local.header[what], circuit.name
        if not hasattr(local.data, "counts"):  # nothing is measured
            assert set(getattr(mine.data, "counts", {})) <= {"0x0"}, circuit.name
            continue
        counts, wanted = ours.get_counts(place), theirs.get_counts(place)
        (shape,) = {tuple(map(len, key.split(" "))) for key in (*counts, *wanted)}
        assert len(shape) == max(1, len(circuit.cregs)), circuit.name
        assert agree(counts, wanted), circuit.name


def test_a_part_of_the_corpus(client: Client) -> None:
    circuits = loaded([*entries(language="qpy", most_qubits=6), *list(entries(language="qasm2", most_qubits=6))[::4]])
    assert len(circuits) >= 30
    compare(client, circuits)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_of_the_corpus(client: Client) -> None:
    circuits = loaded(entry for language in ("qpy", "qasm2") for entry in entries(language=language, mqtbench=True))
    assert len(circuits) >= 80
    compare(client, circuits)
