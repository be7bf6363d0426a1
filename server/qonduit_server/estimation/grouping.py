# SPDX-License-Identifier: Apache-2.0
"""Groups of Pauli products that are measured together: they commute qubit by qubit.

The groups are shared by all observables of a job. A product goes into the first group that it fits, the heaviest
product first; conflicts with all groups are found at once by masks in NumPy (10,000 products on 20 qubits: 0.2 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qonduit_server.pauli_sums import PauliSum

Words: TypeAlias = NDArray[np.uint64]

_WORD_BITS: Final = 64


@dataclass(frozen=True)
class GroupTerm:
    """A term of one observable. Its product has the value (-1)^(number of ones among the bits of `support`).

    `index` is the number of the term in its observable.
    """

    observable: int
    index: int
    coefficient: float
    support: int


@dataclass(frozen=True)
class Group:
    """Terms that one circuit measures. Bit k of the masks is qubit k.

    The masks are those of the measured product: X in `x_mask`, Z in `z_mask`, Y in both; qubits in neither are not
    measured.
    """

    x_mask: int
    z_mask: int
    terms: tuple[GroupTerm, ...]

    @property
    def support(self) -> int:
        """Return the mask of the measured qubits."""
        return self.x_mask | self.z_mask


@dataclass(frozen=True)
class Grouping:
    """The groups of a list of observables, and what needs no measurement: `constants`, one an observable.

    `sizes` are the numbers of terms of each observable; `identities` are the numbers of their constant terms, -1 where
    there is no such term.
    """

    groups: tuple[Group, ...]
    constants: tuple[float, ...]
    sizes: tuple[int, ...]
    identities: tuple[int, ...]

    @property
    def num_observables(self) -> int:
        """Return the number of observables."""
        return len(self.constants)


def grouping(observables: Sequence[PauliSum]) -> Grouping:
    """Group the terms of observables: equal products are measured once, identities not at all."""
    uses: dict[tuple[int, int], list[GroupTerm]] = {}
    constants, identities = [0.0] * len(observables), [-1] * len(observables)
    for place, observable in enumerate(observables):
        terms = zip(observable.coefficients, observable.x_masks, observable.z_masks, strict=True)
        for index, (coefficient, x, z) in enumerate(terms):
            if x | z:
                uses.setdefault((x, z), []).append(GroupTerm(place, index, coefficient, x | z))
            else:
                constants[place], identities[place] = coefficient, index
    # Ties keep the order of appearance: the groups of a job are always the same.
    products = sorted(uses, key=lambda key: -sum(abs(term.coefficient) for term in uses[key]))
    groups = _Groups(products)
    members: list[list[GroupTerm]] = []
    for key, place in zip(products, groups.places(), strict=True):
        if place == len(members):
            members.append([])
        members[place].extend(uses[key])
    bases = groups.bases()
    found = tuple(Group(x, z, tuple(terms)) for (x, z), terms in zip(bases, members, strict=True))
    return Grouping(
        found, tuple(constants), tuple(len(observable.coefficients) for observable in observables), tuple(identities)
    )


def basis_changes(group: Group) -> list[tuple[str, int]]:
    """Return the gates that turn the measured product of a group into Zs: gate names and qubits, in order."""
    gates: list[tuple[str, int]] = []
    rest = group.x_mask
    while rest:
        qubit = (rest & -rest).bit_length() - 1
        rest &= rest - 1
        if group.z_mask >> qubit & 1:
            gates.append(("sdg", qubit))
        gates.append(("h", qubit))
    return gates


class _Groups:
    """The measured products of growing groups, as words of 64 qubits."""

    def __init__(self, products: Sequence[tuple[int, int]]) -> None:
        highest = max(((x | z).bit_length() for x, z in products), default=0)
        self._words = max(1, -(-highest // _WORD_BITS))
        self._x = packed([x for x, _ in products], self._words)
        self._z = packed([z for _, z in products], self._words)
        # Row: word; column: group. A further column is always free.
        self._group_x: Words = np.zeros((self._words, 64), dtype=np.uint64)
        self._group_z: Words = np.zeros_like(self._group_x)
        self._number = 0

    def places(self) -> list[int]:
        """Return the group of each product; it is one more than the last group for a product that fits none."""
        return [self._add(x, z) for x, z in zip(self._x, self._z, strict=True)]

    def bases(self) -> list[tuple[int, int]]:
        """Return the masks of the groups."""
        number = self._number
        return list(zip(unpacked(self._group_x[:, :number].T), unpacked(self._group_z[:, :number].T), strict=True))

    def _add(self, x: Words, z: Words) -> int:
        if self._number == self._group_x.shape[1]:
            self._group_x = np.concatenate([self._group_x, np.zeros_like(self._group_x)], axis=1)
            self._group_z = np.concatenate([self._group_z, np.zeros_like(self._group_z)], axis=1)
        # The free column after the last group conflicts with no product: the search always ends.
        place = int(np.argmin(self._conflicts(x, z)))
        self._group_x[:, place] |= x
        self._group_z[:, place] |= z
        self._number = max(self._number, place + 1)
        return place

    def _conflicts(self, x: Words, z: Words) -> NDArray[np.bool_]:
        """Return which groups measure a qubit of a product in another basis."""
        found: NDArray[np.bool_] = np.zeros(self._number + 1, dtype=np.bool_)
        for word in np.flatnonzero(x | z):
            group_x, group_z = self._group_x[word, : len(found)], self._group_z[word, : len(found)]
            differ = group_x ^ x[word]
            differ |= group_z ^ z[word]
            differ &= (group_x | group_z) & (x[word] | z[word])
            found |= differ != 0
        return found


def packed(masks: Sequence[int], words: int) -> Words:
    """Return masks as rows of words, the lowest qubits first."""
    if words == 1:
        return np.array(masks, dtype=np.uint64).reshape(-1, 1)
    octets = b"".join(mask.to_bytes(8 * words, "little") for mask in masks)
    return np.frombuffer(octets, dtype="<u8").astype(np.uint64).reshape(-1, words)


def unpacked(rows: Words) -> list[int]:
    """Return rows of words as masks."""
    return [int.from_bytes(row.astype("<u8").tobytes(), "little") for row in rows]
