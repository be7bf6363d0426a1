# SPDX-License-Identifier: Apache-2.0
"""Every provider samples exactly from circuits with mid-circuit measurements, resets, branches and loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Clbit, Gate, Measure, QuantumCircuit, Qubit, Reset
from qiskit.circuit.classical import expr
from qiskit.circuit.library import (
    CCXGate,
    CXGate,
    CZGate,
    HGate,
    RXXGate,
    RYGate,
    SdgGate,
    SwapGate,
    SXGate,
    TGate,
    UGate,
    XGate,
)

from qonduit_server.errors import LimitError
from qonduit_server.ir.builder import Builder, Loop, Write
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.formula import TRUE, Formula, bit, conjunction, disjunction, negation, parity
from qonduit_server.ir.lowering import Lowering
from qonduit_server.providers import registry
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.simulation import branching, run_planning
from tests.unit.providers.engines import STATEVECTORS
from tests.unit.providers.exact import distribution
from tests.universal_providers import universal_providers

SHOTS = 4000
GATES: tuple[Gate, ...] = (
    HGate(),
    XGate(),
    SXGate(),
    TGate(),
    SdgGate(),
    RYGate(0.8),
    UGate(0.3, 1.1, -0.4),
    CXGate(),
    CZGate(),
    SwapGate(),
    RXXGate(0.7),
    CCXGate(),
)


@pytest.fixture(scope="module", params=universal_providers())
def provider(request: pytest.FixtureRequest) -> Any:
    found = registry.get(request.param)
    found.load()
    return found


@pytest.fixture(scope="module", params=STATEVECTORS)
def engine(request: pytest.FixtureRequest) -> Any:
    found = request.param()
    found.load()
    return found


def device(provider: Any) -> str:
    return str(provider.describe().devices[0].name)


def branch(quantum: QuantumCircuit, engine: Any) -> branching.Branching:
    """Return the circuit compiled for branching, even if deferral is cheaper."""
    return branching.branching(quantum, Lowering(engine.name, engine.is_native), engine.name, engine)


def run(program: branching.Branching, engine: Any, shots: int, seed: int) -> Any:
    *_, outcome = branching.run(program, engine, shots, seed, {})
    return outcome


def counts(outcome: object) -> Mapping[int, int]:
    assert isinstance(outcome, Outcome), outcome
    return outcome.counts


def assert_close(seen: Mapping[int, int], expected: Mapping[int, float]) -> None:
    shots = sum(seen.values())
    assert shots == SHOTS
    assert set(seen) <= set(expected)
    for outcome, probability in expected.items():
        spread = math.sqrt(shots * probability * max(0.0, 1 - probability))
        assert abs(seen.get(outcome, 0) - shots * probability) <= 6 * spread + 6, (outcome, probability)


@st.composite
def circuits(draw: st.DrawFn) -> QuantumCircuit:
    """Generate IR circuits with all features."""
    builder = Builder()
    qubits = builder.add_qubits(draw(st.integers(1, 4)))
    clbits = builder.add_clbits(draw(st.integers(1, 3)))
    some_qubit, some_clbit = st.sampled_from(qubits), st.sampled_from(clbits)
    conditions = st.recursive(
        some_clbit.map(bit),
        lambda inner: st.one_of(
            inner.map(negation),
            *(st.tuples(inner, inner).map(join) for join in (conjunction, disjunction, parity)),
        ),
        max_leaves=3,
    )

    def add(guard: Formula) -> None:
        kind = draw(st.sampled_from(("gate", "gate", "gate", "measure", "reset", "write")))
        if kind == "gate":
            gate = draw(st.sampled_from([each for each in GATES if each.num_qubits <= len(qubits)]))
            builder.append(guard, gate, draw(st.permutations(qubits))[: gate.num_qubits])
        elif kind == "measure":
            builder.append(guard, Measure(), [draw(some_qubit)], [draw(some_clbit)])
        elif kind == "reset":
            builder.append(guard, Reset(), [draw(some_qubit)])
        else:
            builder.append(guard, Write(draw(some_clbit), draw(conditions)))

    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(("plain", "plain", "plain", "guarded", "loop")))
        if kind != "loop":
            add(TRUE if kind == "plain" else draw(conditions))
            continue
        outer = builder.block
        end, flag = draw(some_qubit), draw(some_clbit)
        loop = Loop(bit(flag), type(outer)())
        builder.block = loop.body
        for _ in range(draw(st.integers(0, 2))):
            add(draw(st.one_of(st.just(TRUE), conditions)))
        # A round is the last one with a probability of 0.6.
        builder.append(TRUE, Reset(), [end])
        builder.append(TRUE, RYGate(2 * math.asin(math.sqrt(0.4))), [end])
        builder.append(TRUE, Measure(), [end], [flag])
        builder.block = outer
        builder.append(TRUE, loop)
    for place in range(min(len(qubits), len(clbits))):
        if draw(st.booleans()):
            builder.append(TRUE, Measure(), [qubits[place]], [clbits[place]])
    return builder.finish()


@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
@given(circuits())
def test_every_circuit_on_every_provider(provider: Any, quantum: QuantumCircuit) -> None:
    expected = distribution(quantum)
    compiled = provider.compile(Circuit(quantum, ()), device(provider))
    *_, outcome = provider.run(device(provider), [compiled], SHOTS, 3)
    assert_close(counts(outcome), expected)
    exact = provider.probabilities(device(provider), compiled)
    if exact is not None:
        for outcome in exact.keys() | expected.keys():
            assert exact.get(outcome, 0.0) == pytest.approx(expected.get(outcome, 0.0), abs=1e-9)


def test_a_loop_with_the_only_measurement_runs(provider: Any) -> None:
    quantum = QuantumCircuit([Qubit()], [Clbit()])
    quantum.reset(0)
    with quantum.while_loop(expr.lift(quantum.clbits[0])):
        quantum.reset(0)
        quantum.ry(1.3, 0)
        quantum.measure(0, 0)
    compiled = provider.compile(Circuit(quantum, ()), device(provider))
    *_, outcome = provider.run(device(provider), [compiled], 10, 3)
    assert counts(outcome) == {0: 10}


def test_a_bit_that_is_only_assigned_has_its_value(provider: Any) -> None:
    quantum = QuantumCircuit([Qubit()], [Clbit()])
    quantum.h(0)
    quantum.store(expr.lift(quantum.clbits[0]), expr.lift(True))
    compiled = provider.compile(Circuit(quantum, ()), device(provider))
    *_, outcome = provider.run(device(provider), [compiled], 10, 3)
    assert counts(outcome) == {1: 10}


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
@given(circuits())
def test_every_circuit_by_branching(engine: Any, quantum: QuantumCircuit) -> None:
    expected = distribution(quantum)
    program = branch(quantum, engine)
    outcome = run(program, engine, SHOTS, 7)
    assert_close(counts(outcome), expected)
    # Groups whose states do not fit into memory are recomputed, with the same result.
    program.spare_bytes = -(16 << program.qubits)
    assert counts(run(program, engine, SHOTS, 7)) == counts(outcome)


def rounds(number: int, qubits: int = 1) -> QuantumCircuit:
    """Return a circuit that rotates, measures and resets a qubit repeatedly; other qubits store its outcomes."""
    quantum = QuantumCircuit(qubits, number)
    for place in range(number):
        quantum.ry(0.3 + place / number, 0)
        if qubits > 1:
            quantum.cx(0, 1 + place % (qubits - 1))
        quantum.measure(0, place)
        quantum.reset(0)
    return quantum


@pytest.mark.parametrize("qubits", [1, 3, 7])
def test_many_rounds_take_no_qubits(engine: Any, qubits: int) -> None:
    quantum = rounds(40, qubits)
    compiled = engine.compile(Circuit(quantum, ()), device(engine), CompileOptions(1024**2))
    assert compiled.qubits == qubits
    *_, outcome = engine.run(device(engine), [compiled], 300, 5)
    assert outcome.meta_data["method"] == "statevector, branching on measurements"
    assert outcome.meta_data["branches"] <= 300
    assert sum(outcome.counts.values()) == 300
    for place in range(40):
        ones = sum(number for value, number in outcome.counts.items() if value >> place & 1)
        probability = math.sin((0.3 + place / 40) / 2) ** 2
        assert abs(ones - 300 * probability) < 6 * math.sqrt(300 * probability)


def test_the_seed_decides(engine: Any) -> None:
    compiled = engine.compile(Circuit(rounds(20), ()), device(engine))
    first, second, other, free, freer = (
        list(engine.run(device(engine), [compiled], 200, seed))[-1].counts for seed in (1, 1, 2, None, None)
    )
    assert first == second
    assert first != other
    assert free != freer


def test_resets_of_unentangled_qubits_do_not_split(engine: Any) -> None:
    quantum = QuantumCircuit(2, 1)
    for _ in range(30):
        quantum.h(0)
        quantum.reset(0)
    quantum.h(1)
    quantum.measure(1, 0)
    outcome = run(branch(quantum, engine), engine, 1000, 1)
    assert isinstance(outcome, Outcome)
    assert outcome.meta_data["branches"] == 2


def test_resets_of_entangled_qubits_do(engine: Any) -> None:
    quantum = QuantumCircuit(2, 1)
    quantum.h(0)
    quantum.cry(0.6, 0, 1)
    quantum.reset(0)
    quantum.ry(0.2, 1)
    quantum.measure(1, 0)
    outcome = run(branch(quantum, engine), engine, SHOTS, 1)
    assert_close(counts(outcome), distribution(quantum))


def test_groups_that_were_not_kept_follow_their_conditions_again(engine: Any) -> None:
    builder = Builder()
    builder.add_qubits(3)
    builder.add_clbits(5)
    for place in range(4):
        builder.append(TRUE, HGate(), [0])
        builder.append(TRUE, Measure(), [0], [place])
        builder.append(bit(place), RYGate(0.9), [1])
        builder.append(negation(bit(place)), CXGate(), [1, 2])
    builder.append(TRUE, Measure(), [2], [4])
    quantum = builder.finish()
    program = branch(quantum, engine)
    kept = run(program, engine, SHOTS, 1)
    assert_close(counts(kept), distribution(quantum))
    program.spare_bytes = -(16 << program.qubits)
    assert counts(run(program, engine, SHOTS, 1)) == counts(kept)


def test_a_split_into_very_many_groups_is_quick(engine: Any) -> None:
    quantum = QuantumCircuit(11, 12)
    quantum.h(range(11))
    quantum.measure(range(11), range(11))
    quantum.h(0)
    quantum.measure(0, 11)
    outcome = run(branch(quantum, engine), engine, 2000, 1)
    assert len(counts(outcome)) > 1000


def test_a_loop_without_end_is_stopped(engine: Any) -> None:
    builder = Builder()
    builder.add_qubits(1)
    builder.add_clbits(1)
    builder.append(TRUE, XGate(), [0])
    builder.append(TRUE, Measure(), [0], [0])
    loop = Loop(bit(0), type(builder.block)())
    builder.append(TRUE, loop)
    outer, builder.block = builder.block, loop.body
    builder.append(TRUE, Measure(), [0], [0])
    builder.block = outer
    compiled = engine.compile(Circuit(builder.finish(), ()), device(engine))
    *_, outcome = engine.run(device(engine), [compiled], 10, 1)
    assert isinstance(outcome, LimitError)
    assert outcome.reason == "LOOP_LIMIT"
    assert str(branching.MAX_ROUNDS) in outcome.message


def test_what_does_not_fit_is_refused(engine: Any) -> None:
    with pytest.raises(LimitError) as caught:
        engine.compile(Circuit(rounds(40, 15), ()), device(engine), CompileOptions(1024**2))
    assert caught.value.reason == "MEMORY_LIMIT"


def test_cheap_circuits_are_deferred(engine: Any) -> None:
    quantum = rounds(run_planning._DEFERRED_AXES - 2)
    compiled = engine.compile(Circuit(quantum, ()), device(engine))
    *_, outcome = engine.run(device(engine), [compiled], 100, 1)
    assert "branching" not in outcome.meta_data["method"]
