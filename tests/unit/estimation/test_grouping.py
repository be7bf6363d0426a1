# SPDX-License-Identifier: Apache-2.0
"""Groups of Pauli products: complete, commuting qubit by qubit, shared by observables, and fast."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from qonduit_server.estimation.grouping import Grouping, basis_changes, grouping
from qonduit_server.pauli_sums import PauliSum, parse
from tests.unit.estimation.dense_observables import MATRICES, random_sum

H = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
SDG = np.diag([1, -1j])


def check(found: Grouping, observables: list[PauliSum]) -> None:
    """Every term is in one group, which measures each of its qubits in its basis."""
    seen = {(place, index) for place, index in enumerate(found.identities) if index >= 0}
    for group in found.groups:
        for term in group.terms:
            observable = observables[term.observable]
            x, z = observable.x_masks[term.index], observable.z_masks[term.index]
            assert (group.x_mask & (x | z), group.z_mask & (x | z)) == (x, z)
            assert term.support == x | z
            assert term.coefficient == observable.coefficients[term.index]
            assert (term.observable, term.index) not in seen
            seen.add((term.observable, term.index))
        # Nothing is measured in vain.
        union = 0
        for term in group.terms:
            union |= term.support
        assert union == group.support
    assert len(seen) == sum(len(each.coefficients) for each in observables)


@pytest.mark.parametrize("qubits", [1, 4, 12, 64, 65, 200])
def test_every_term_is_in_a_group_that_measures_its_basis(qubits: int) -> None:
    observables = [random_sum(qubits, 60, seed) for seed in range(3)]
    check(grouping(observables), observables)


def test_commuting_terms_are_one_group() -> None:
    found = grouping([parse("Z0 + Z1 + Z0*Z1 + 0.5"), parse("X2*Z0"), parse("2*I"), parse("Y3 - Z0")])
    assert [(group.x_mask, group.z_mask) for group in found.groups] == [(0b1100, 0b1011)]
    assert found.constants == (0.5, 0, 2, 0)
    assert found.identities == (3, -1, 0, -1)
    assert found.sizes == (4, 1, 1, 2)


def test_the_heaviest_product_comes_first_over_all_observables() -> None:
    found = grouping([parse("X0 + 3*Z0"), parse("-4*Y0 + X0"), parse("2.5*X0")])
    assert [(group.x_mask, group.z_mask) for group in found.groups] == [(1, 0), (1, 1), (0, 1)]
    assert [(term.observable, term.coefficient) for term in found.groups[0].terms] == [(0, 1), (1, 1), (2, 2.5)]


def test_observables_without_products_have_no_group() -> None:
    assert grouping([parse("1.5")]).groups == ()
    assert grouping([]) == Grouping((), (), (), ())


def test_basis_changes_turn_the_measured_paulis_into_z() -> None:
    (group,) = grouping([parse("X0*Y1*Z2*X70 + Z3")]).groups
    assert basis_changes(group) == [("h", 0), ("sdg", 1), ("h", 1), ("h", 70)]
    np.testing.assert_allclose(H @ MATRICES["X"] @ H, MATRICES["Z"], atol=1e-15)
    change = H @ SDG
    np.testing.assert_allclose(change @ MATRICES["Y"] @ change.conj().T, MATRICES["Z"], atol=1e-15)


def test_few_groups_are_found() -> None:
    """All 255 products of four qubits: 81 groups are the optimum, the bases without an identity."""
    keys = [key for key in itertools.product(range(16), range(16)) if any(key)]
    every = PauliSum((1.0,) * 255, tuple(x for x, _ in keys), tuple(z for _, z in keys))
    assert 81 <= len(grouping([every]).groups) <= 110


def test_ten_thousand_terms_on_twenty_qubits_take_few_seconds() -> None:
    """About half a second; a comparison of each term with each other one takes more than ten times as long."""
    observable = random_sum(20, 10_000, 3)
    began = time.thread_time()
    found = grouping([observable])
    assert time.thread_time() - began < 5.0
    assert sum(len(group.terms) for group in found.groups) >= 9_999
