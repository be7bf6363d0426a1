# SPDX-License-Identifier: Apache-2.0
"""Split tapes with shots until the same shots determine all measurements of each tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pennylane import Identity, X, Y, Z, sample
from pennylane.devices.preprocess import null_postprocessing
from pennylane.measurements import ClassicalShadowMP, ExpectationMP, ShadowExpvalMP
from pennylane.ops import Prod, SProd, Sum
from pennylane.shadows import ClassicalShadow
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, split_non_commuting, transform
from pennylane.transforms.core import CompilePipeline

_PAULIS: Final = {0: X, 1: Y, 2: Z}


@transform  # type: ignore[untyped-decorator]
def _apart(tape: QuantumScript) -> Any:
    """Put measurements that need separate circuits into separate tapes: shadows, and sums that are not expectations."""
    measurements = [_simplified(each) for each in tape.measurements] if tape.shots else []
    alone = [place for place, each in enumerate(measurements) if _needs_own(each)]
    if not alone or len(measurements) == 1:
        return (tape.copy(measurements=measurements) if tape.shots else tape,), null_postprocessing
    rest = [place for place in range(len(measurements)) if place not in alone]
    groups = [*([rest] if rest else []), *([place] for place in alone)]
    tapes = [tape.copy(measurements=[measurements[place] for place in group]) for group in groups]

    def joined(results: Sequence[Any]) -> Any:
        if not tape.shots.has_partitioned_shots:
            return _in_order(groups, results)
        return tuple(_in_order(groups, each) for each in zip(*results, strict=True))

    return tapes, joined


def _in_order(groups: list[list[int]], results: Sequence[Any]) -> tuple[Any, ...]:
    found: dict[int, Any] = {}
    for group, result in zip(groups, results, strict=True):
        found.update(zip(group, result if len(group) > 1 else (result,), strict=True))
    return tuple(found[place] for place in sorted(found))


def _needs_own(measurement: Any) -> bool:
    if isinstance(measurement, ClassicalShadowMP | ShadowExpvalMP):
        return True
    return isinstance(measurement.obs, Sum) and not isinstance(measurement, ExpectationMP)


def _simplified(measurement: Any) -> Any:
    """Simplify products: with a repeated wire, their eigenvalues differ from those of their factors."""
    if isinstance(measurement.obs, Prod | SProd):
        return measurement.simplify()
    return measurement


@transform  # type: ignore[untyped-decorator]
def _shadows(tape: QuantumScript) -> Any:
    """Measure a classical shadow with one tape per drawn choice of bases."""
    if not isinstance(tape.measurements[0] if tape.measurements else None, ClassicalShadowMP | ShadowExpvalMP):
        return (tape,), null_postprocessing
    measurement = tape.measurements[0]
    wires = measurement.wires or tape.wires
    tapes: list[QuantumScript] = []
    shadows: list[_Shadow] = []
    for shots in tape.shots:
        shadow = _Shadow(np.random.RandomState(measurement.seed).randint(0, 3, size=(shots, len(wires))), len(tapes))
        shadows.append(shadow)
        for recipe in shadow.chosen:
            gates = [
                gate
                for wire, each in zip(wires, recipe, strict=True)
                for gate in _PAULIS[int(each)].compute_diagonalizing_gates(wires=wire)
            ]
            operations = [*tape.operations, *gates]
            tapes.append(
                tape.copy(
                    operations=operations, measurements=[sample(wires=wires)], shots=shadow.most, trainable_params=[]
                )
            )

    def shadow_result(shadow: _Shadow, results: Sequence[Any]) -> Any:
        bits = shadow.bits(results)
        if isinstance(measurement, ClassicalShadowMP):
            return np.stack([bits, shadow.recipes]).astype(np.int8)
        return ClassicalShadow(bits, shadow.recipes, wire_map=wires.tolist()).expval(measurement.H, measurement.k)

    def joined(results: Sequence[Any]) -> Any:
        found = tuple(shadow_result(each, results) for each in shadows)
        return found if tape.shots.has_partitioned_shots else found[0]

    return tapes, joined


class _Shadow:
    """Shots with random bases, grouped into tapes with equal bases.

    Attributes:
        recipes: the bases, as numbers of `_PAULIS`, an array (shots, wires).
        chosen: the drawn choices.
        most: the count of the most frequent choice. All tapes use as many shots, so that they fit into one job.
    """

    def __init__(self, recipes: NDArray[np.int64], begin: int) -> None:
        self.recipes = recipes
        self.chosen, which, often = np.unique(recipes, axis=0, return_inverse=True, return_counts=True)
        self.most = int(often.max())
        self._which = which.reshape(-1)
        self._begin = begin

    def bits(self, results: Sequence[Any]) -> NDArray[np.int64]:
        """Return the bits of each shot, an array (shots, wires), from the samples of all tapes."""
        bits = np.empty_like(self.recipes)
        for number in range(len(self.chosen)):
            own = np.flatnonzero(self._which == number)
            samples = np.reshape(results[self._begin + number], (self.most, bits.shape[1]))
            bits[own] = samples[: len(own)]
        return bits


@transform  # type: ignore[untyped-decorator]
def _commuting(tape: QuantumScript) -> Any:
    """Split sums into their terms, and measurements that do not commute qubit by qubit."""
    if not tape.shots or _bases(tape) is not None:
        return (tape,), null_postprocessing
    return split_non_commuting(tape)


def rotations(tape: QuantumScript) -> list[Any]:
    """Return the gates that rotate all measurements of a tape to the computational basis."""
    gates: list[Any] = []
    turned: set[Any] = set()
    for measurement in tape.measurements:
        own = _basis(measurement, tape)
        if measurement.mv is None and measurement.obs is not None:
            gates += [gate for gate in measurement.diagonalizing_gates() if turned.isdisjoint(gate.wires)]
        turned |= own.keys()
    return gates


def _bases(tape: QuantumScript) -> dict[Any, str | int] | None:
    """Return the basis of each wire; None if two measurements conflict, or a sum must be split."""
    bases: dict[Any, str | int] = {}
    for measurement in tape.measurements:
        if isinstance(measurement, ExpectationMP) and isinstance(measurement.obs, Sum):
            return None
        for wire, basis in _basis(measurement, tape).items():
            if bases.setdefault(wire, basis) != basis:
                return None
    return bases


def _basis(measurement: Any, tape: QuantumScript) -> dict[Any, str | int]:
    """Return the basis of each wire of a measurement: a Pauli letter, or an observable, by its hash."""
    obs = measurement.obs
    if measurement.mv is not None:  # mid-circuit bits are already recorded
        return {}
    if obs is None:
        return dict.fromkeys(measurement.wires or tape.wires, "Z")
    if isinstance(obs, X | Y | Z | Identity | Prod | SProd) and len(obs.pauli_rep or ()) == 1:
        (word,) = obs.pauli_rep
        return dict(word)
    return dict.fromkeys(obs.wires, obs.hash)


SPLITTING: Final = CompilePipeline()
for _each in (broadcast_expand, _apart, _shadows, _commuting):
    SPLITTING.add_transform(_each)
