# SPDX-License-Identifier: Apache-2.0
"""The matrices of rotations are those of Qiskit's gates."""

from __future__ import annotations

import numpy as np
import pytest

from qonduit_server.estimation.rotation_gates import GENERATORS
from qonduit_server.estimation.rotation_rows import RotationRows


@pytest.mark.parametrize("kind", GENERATORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("angle", [-7.5, -0.3, 0.0, 0.3, np.pi, 4.1])
def test_rows_are_those_of_the_gate(kind: type, angle: float) -> None:
    expected = kind(angle).to_matrix()
    found = np.eye(len(expected), dtype=complex)
    for row, columns in RotationRows(GENERATORS[kind]).at(angle):
        found[row] = 0
        for column, value in columns:
            found[row, column] = value
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_a_controlled_rotation_leaves_the_part_alone_whose_control_is_zero() -> None:
    (kind,) = (each for each in GENERATORS if each.__name__ == "CRYGate")
    assert [row for row, _ in RotationRows(GENERATORS[kind]).at(0.7)] == [1, 3]
