# SPDX-License-Identifier: Apache-2.0
"""Exact values and variances against dense matrices, from statevectors and from outcomes of rotated circuits."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from qonduit_server.estimation import exact_values, group_moments, pauli_action, term_values
from qonduit_server.estimation.grouping import Group, basis_changes, grouping
from qonduit_server.pauli_sums import PauliSum, parse
from tests.unit.estimation.dense_observables import dense, random_state, random_sum

GATES = {"h": np.array([[1, 1], [1, -1]]) / np.sqrt(2), "sdg": np.diag([1, -1j])}


def outcomes(state: Any, group: Group, qubits: int) -> dict[int, float]:
    """The exact probabilities after the basis changes of a group."""
    for name, qubit in basis_changes(group):
        pairs = state.reshape(-1, 2, 1 << qubit)
        state = np.einsum("ab,xby->xay", GATES[name], pairs).reshape(-1)
    return dict(enumerate(np.abs(state) ** 2))


@pytest.mark.parametrize(("qubits", "terms"), [(1, 4), (2, 16), (4, 100), (7, 30), (6, 2000)])
def test_values_and_variances_are_those_of_the_matrix(qubits: int, terms: int) -> None:
    observables = [random_sum(qubits, terms, seed) for seed in (1, 2)]
    state = random_state(qubits, 3)
    values, variances = exact_values.expectation(state, observables)
    for observable, value, variance in zip(observables, values, variances, strict=True):
        norm = sum(map(abs, observable.coefficients))
        applied = dense(observable, qubits) @ state
        expected = np.vdot(state, applied).real
        assert abs(value - expected) <= 1e-12 * norm
        assert abs(variance - (np.vdot(applied, applied).real - expected**2)) <= 1e-12 * norm**2


@pytest.mark.parametrize("terms", [1, 20, 900])
def test_states_of_several_blocks_have_the_same_values(terms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    observable, state = random_sum(7, terms, 5), random_state(7, 6)
    whole = exact_values.expectation(state, [observable])
    for bits in (1, 4, 6):
        monkeypatch.setattr(pauli_action, "_BLOCK_BITS", bits)
        np.testing.assert_allclose(exact_values.expectation(state, [observable]), whole, rtol=1e-12)


@pytest.mark.parametrize(("qubits", "terms"), [(1, 4), (3, 40), (5, 900)])
def test_every_term_has_the_value_of_its_product(qubits: int, terms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    observables, state = [random_sum(qubits, terms, seed) for seed in (1, 2)], random_state(qubits, 3)
    expected, _ = exact_values.expectation(state, observables)
    for bits in (14, 2):
        monkeypatch.setattr(term_values, "_BLOCK_BITS", bits)
        monkeypatch.setattr(term_values, "_TRANSFORM", 10 * bits)
        found = term_values.term_values(state, observables)
        sums = [np.dot(each.coefficients, own) for each, own in zip(observables, found, strict=True)]
        np.testing.assert_allclose(sums, expected, atol=1e-11)
        for x, z, value in list(zip(observables[0].x_masks, observables[0].z_masks, found[0], strict=True))[:20]:
            product = dense(PauliSum((1.0,), (x,), (z,)), qubits)
            assert abs(np.vdot(state, product @ state) - value) < 1e-12


def test_eigenstates_have_no_variance() -> None:
    ghz = np.zeros(8, dtype=complex)
    ghz[[0, 7]] = np.sqrt(0.5)
    values, variances = exact_values.expectation(ghz, [parse("X0*X1*X2 + 2*Z0*Z1 - 3"), parse("Z0"), parse("4")])
    np.testing.assert_allclose(values, [0, 0, 4], atol=1e-15)
    np.testing.assert_allclose(variances, [0, 1, 0], atol=1e-30)


def test_the_observable_is_applied_as_its_matrix() -> None:
    observable, state = random_sum(5, 60, 8), random_state(5, 9)
    np.testing.assert_allclose(pauli_action.apply(observable, state), dense(observable, 5) @ state, atol=1e-13)


def test_states_of_single_precision_have_values_of_double_precision() -> None:
    observable, state = random_sum(5, 60, 8), random_state(5, 9).astype(np.complex64)
    expected = exact_values.expectation(state.astype(np.complex128), [observable])
    np.testing.assert_array_equal(exact_values.expectation(state, [observable]), expected)


def test_ten_thousand_terms_of_a_molecule_on_twenty_qubits_are_fast_in_little_memory() -> None:
    """Ten products with each of 14 x masks, as a Hamiltonian of electrons has them: 100 ms a mask at most."""
    qubits = 20
    generator = np.random.default_rng(1)
    x = np.repeat(generator.integers(1, 1 << qubits, 14), 10)
    observable = PauliSum(
        (0.1,) * len(x), tuple(x.tolist()), tuple(generator.integers(0, 1 << qubits, len(x)).tolist())
    )
    state = random_state(qubits, 1)
    tracemalloc.start()
    began = time.process_time()
    exact_values.expectation(state, [observable])
    used = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 1.4
    assert peak < 2.2 * state.nbytes


@pytest.mark.parametrize("qubits", [1, 3, 5])
def test_outcomes_of_rotated_circuits_give_the_same_values(qubits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    observables = [random_sum(qubits, 12, seed) for seed in (1, 2, 3)]
    state = random_state(qubits, 4)
    expected, _ = exact_values.expectation(state, observables)
    groups = grouping(observables)
    for entries in (1 << 21, 16, 1):
        monkeypatch.setattr(group_moments, "_ENTRIES", entries)
        found = [exact_values.from_distribution(outcomes(state, group, qubits), group, 3) for group in groups.groups]
        values = np.array(groups.constants) + sum(each.means for each in found)
        np.testing.assert_allclose(values, expected, atol=1e-12)
        for group, each in zip(groups.groups, found, strict=True):
            for number in range(3):
                own = [term for term in group.terms if term.observable == number]
                # The variance of the group's part contains the covariances of its terms.
                part = PauliSum(
                    tuple(term.coefficient for term in own),
                    tuple(observables[number].x_masks[term.index] for term in own),
                    tuple(observables[number].z_masks[term.index] for term in own),
                )
                (variance,) = exact_values.expectation(state, [part])[1] if own else [0.0]
                assert abs(each.variances[number] - variance) < 1e-12


def test_products_of_more_than_sixty_four_qubits_have_parities() -> None:
    groups = grouping([parse("Z0*Z70 + 2*Z130 + Z3")])
    outcomes = {0: 1, 1 << 70 | 1: 2, 1 << 130 | 8: 1}
    found = group_moments.group_moments(groups.groups[0], outcomes, 1)
    assert found.weight == 4
    assert dict(found.parities) == {1 << 130: 0.5, 1 << 70 | 1: 1.0, 8: 0.5}
    np.testing.assert_allclose(found.means, [2.5])
    np.testing.assert_allclose(found.variances, [(3 * 1.5**2 + 4.5**2) / 4])


def test_a_certain_outcome_has_exactly_no_variance() -> None:
    groups = grouping([parse("0.1*Z0 + 0.2*Z1 + 0.3*Z0*Z1 + 0.7*Z2")])
    found = group_moments.group_moments(groups.groups[0], {5: 3, 13: 4, 21: 1e6}, 1)
    assert found.variances[0] == 0
    assert group_moments.group_moments(groups.groups[0], {}, 1).weight == 0


def test_many_outcomes_and_terms_take_bounded_memory() -> None:
    observables = [PauliSum(tuple([1.0] * 300), (0,) * 300, tuple(range(1, 301)))] * 4
    (group,) = grouping(observables).groups
    counts = dict.fromkeys(range(30_000), 1)
    tracemalloc.start()
    group_moments.group_moments(group, counts, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6


def test_an_observable_has_the_right_value_on_states_of_different_sizes_in_turn() -> None:
    """The kept form of an observable depends on the size of the state."""
    observable = random_sum(3, 20, 5)
    for qubits in (3, 5, 3, 4, 5):
        state = random_state(qubits, qubits)
        expected = np.vdot(state, dense(observable, qubits) @ state).real
        assert exact_values.expectation(state, [observable])[0][0] == pytest.approx(expected, abs=1e-12)
