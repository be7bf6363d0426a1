# SPDX-License-Identifier: Apache-2.0
"""Shots that are run one after another: counts do not depend on how they are sliced, and progress is emitted."""

from __future__ import annotations

import pytest
from qiskit.circuit import QuantumCircuit

from qonduit_server.ir.circuit import Outcome
from qonduit_server.providers.aer import aer_execution
from qonduit_server.providers.aer.aer_compiler import block_of
from qonduit_server.providers.aer.aer_program import AerProgram
from qonduit_server.providers.provider import SEED_STRIDE, RunProgress
from tests.unit.providers.aer_samples import DEVICE, aer, compiled, ghz, noisy, random_clifford


def branching() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 3)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.h(0)
        circuit.ry(0.4, 1)
        circuit.measure(0, 0)
    circuit.measure(1, 1)
    return circuit


@pytest.mark.parametrize("circuit", [branching(), noisy(ghz(12), readout=False), noisy(ghz(20), pauli=True)])
def test_counts_do_not_depend_on_slicing(circuit: QuantumCircuit, monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiled(circuit, 100)
    assert program.sliceable
    block = 32
    object.__setattr__(program.native, "block", block)
    found = []
    for largest in (1, 3, 64):
        monkeypatch.setattr(aer_execution, "_LARGEST_SLICE", largest)
        monkeypatch.setattr(aer_execution, "_SLICE_SECONDS", 1000.0)
        *progress, outcome = aer().run(DEVICE, [program], 5 * block + 7, 3)
        assert isinstance(outcome, Outcome)
        assert sum(outcome.counts.values()) == 5 * block + 7
        shares = [each.share for each in progress if isinstance(each, RunProgress)]
        assert shares == sorted(shares)
        assert all(0 < share < 1 for share in shares)
        assert len(shares) == 5 if largest == 1 else 1 <= len(shares) < 5
        found.append(outcome.counts)
    assert found[0] == found[1] == found[2]
    *_, other = aer().run(DEVICE, [program], 5 * block + 7, 4)
    assert isinstance(other, Outcome)
    assert other.counts != found[0]


def test_blocks_are_different() -> None:
    program = compiled(noisy(ghz(12), readout=False), 100)
    object.__setattr__(program.native, "block", 64)
    *_, many = aer().run(DEVICE, [program], 128, 3)
    assert isinstance(many, Outcome)
    # Were the second block the first one again, each count would be even.
    assert any(number % 2 for number in many.counts.values())


def test_aer_is_given_equal_errors_once() -> None:
    circuit = noisy(ghz(20), pauli=True, readout=False)  # with a channel of its own behind each gate
    program = compiled(circuit, 100).native
    assert isinstance(program, AerProgram)
    assert program.circuit is not None
    errors = [each.operation for each in program.circuit.data if each.operation.name == "quantum_channel"]
    assert len(errors) == 20
    assert len({id(each) for each in errors}) == 2


def test_blocks_are_longer_where_a_call_costs_more_and_the_run_is_long() -> None:
    def block_operations(layers: int, shots: int) -> int:
        native = compiled(noisy(random_clifford(30, layers, 1), pauli=True), shots).native
        assert isinstance(native, AerProgram)
        assert native.circuit is not None
        return native.block * len(native.circuit.data)

    # The time of a block is that of its operations; their number is a power of 2 for each shot.
    assert block_operations(1, 200) < 2.1 * block_operations(20, 200)
    assert block_operations(20, 1 << 20) > 4 * block_operations(20, 200)
    assert block_operations(20, 1 << 20) > 2 * block_operations(1, 1 << 20)


def test_one_evolution_has_no_progress() -> None:
    for circuit in (ghz(3), ghz(11), ghz(40), noisy(ghz(3))):
        program = compiled(circuit)
        assert program.sliceable is False
        (outcome,) = aer().run(DEVICE, [program], 10_000, 3)
        assert isinstance(outcome, Outcome)


def test_programs_of_one_job_have_shots_of_their_own() -> None:
    programs = [compiled(branching(), 100) for _ in range(3)]
    outcomes = [each for each in aer().run(DEVICE, programs, 200, 3) if isinstance(each, Outcome)]
    assert len({tuple(sorted(each.counts.items())) for each in outcomes}) == 3
    again = [each for each in aer().run(DEVICE, programs, 200, 3) if isinstance(each, Outcome)]
    assert [each.counts for each in outcomes] == [each.counts for each in again]


def test_blocks_have_no_shots_in_common() -> None:
    # Aer gives shot i of a circuit its seed + i, and the next circuit of a call a seed that is SEED_STRIDE higher.
    assert block_of(QuantumCircuit(1), 1 << 23) <= SEED_STRIDE


def test_neighbouring_seeds_have_no_shots_in_common() -> None:
    program = compiled(noisy(ghz(12), readout=False), 100)
    found = []
    for seed in (3, 4):
        *_, outcome = aer().run(DEVICE, [program], 60, seed)
        assert isinstance(outcome, Outcome)
        assert outcome.meta_data["seed"] == seed
        found.append(outcome.counts)
    # Had they 59 of 60 shots in common, two counts would differ by one.
    keys = found[0].keys() | found[1].keys()
    assert sum(abs(found[0].get(key, 0) - found[1].get(key, 0)) for key in keys) > 4
