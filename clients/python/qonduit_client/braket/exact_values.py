# SPDX-License-Identifier: Apache-2.0
"""Exact result types that a server's estimator computes: their observables, and how their values follow from these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from braket.circuits.observables import H, Hermitian, TensorProduct, X, Y, Z, observable_from_ir
from braket.default_simulator.linalg_utils import marginal_probability

from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client.braket.stored_sets import with_targets
from qonduit_client.estimates import estimate_of
from qonduit_client.observables import observables_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qonduit_client.result import Result

#: With fewer qubits, a state arrives sooner than its expectation values, so results come from it, except gradients.
FEWEST_QUBITS: Final = 14
#: The most products of Paulis of one result: the state takes longer than this many only for few qubits.
_MOST_PRODUCTS: Final = 256
#: The most observables of a program.
_MOST_OBSERVABLES: Final = 1000
#: The most qubits of a probability and of a density matrix that are sums of products.
_MOST_QUBITS: Final = {"probability": 4, "densitymatrix": 2}
_IDENTITY: Final = Observable(expression="1")
_MATRICES: Final = (np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1]))


@dataclass(frozen=True)
class Estimated:
    """A result type as a function of expectation values.

    Attributes:
        observables: the observables.
        build: returns the result from their values, and from their gradients, an array (observables, parameters).
    """

    observables: Sequence[Observable]
    build: Callable[[NDArray[np.float64], NDArray[np.float64]], Any]


def estimated(results: Sequence[Any], qubits: int) -> list[Estimated] | None:
    """Return result types as functions of expectation values; None if one of them requires the state.

    Args:
        results: result types in Braket's intermediate representation, on qubits from 0 without gaps.
        qubits: the number of qubits.
    """
    found = []
    count = 0
    for each in results:
        own = _estimated(each, qubits)
        if own is None:
            return None
        count += len(own.observables)
        found.append(own)
    return found if count <= _MOST_OBSERVABLES else None


@dataclass(frozen=True)
class Estimation:
    """The results of a program as functions of expectation values.

    Attributes:
        results: the results.
        names: the inputs by which values are differentiated.
        point: their values.
    """

    results: Sequence[Estimated]
    names: Sequence[str] = ()
    point: Sequence[float] = ()

    @property
    def part(self) -> dict[str, Any]:
        """The options of the program's estimator, as arguments of `Part`."""
        observables = [each for own in self.results for each in own.observables]
        options = EstimatorOptions(observables=observables, exact=True, gradient=bool(self.names))
        sets = ParameterSets(names=self.names, values=self.point) if self.names else None
        return {"estimator": options, "parameter_sets": sets}

    def values(self, result: Result) -> list[Any]:
        """Return the values of the results."""
        estimate = estimate_of(result, has_points=True)
        gradients = np.zeros((estimate.values.size, 0)) if estimate.gradients is None else estimate.gradients[0]
        found = []
        first = 0
        for each in self.results:
            own = slice(first, first + len(each.observables))
            found.append(each.build(estimate.values[0, own], gradients[own]))
            first = own.stop
        return found


def factors_of(ir: Sequence[Any], targets: Sequence[int]) -> list[Any]:
    """Return the factors of a product as observables of the SDK.

    Args:
        ir: the product in Braket's intermediate representation.
        targets: its qubits.
    """
    left = iter(targets)
    factors = (observable_from_ir([each]) for each in ir)
    return [with_targets(each, [next(left) for _ in range(each.qubit_count)]) for each in factors]


def _estimated(result: Any, qubits: int) -> Estimated | None:
    match result.type:
        case "expectation" | "variance":
            return _moments(result, qubits)
        case "probability" | "densitymatrix":
            targets = list(range(qubits)) if result.targets is None else list(result.targets)
            if len(targets) > _MOST_QUBITS[result.type]:
                return None
            return _probability(targets) if result.type == "probability" else _density_matrix(targets)
    return None


def _moments(result: Any, qubits: int) -> Estimated | None:
    """Return expectations or variances: of one observable, or without targets of the same one on each qubit."""
    places = [[each] for each in range(qubits)] if result.targets is None else [list(result.targets)]
    products = [factors_of(result.observable, targets) for targets in places]
    first = [_packed(factors) for factors in products]
    second = [_packed(_squared(factors)) for factors in products] if result.type == "variance" else []
    observables = [each for each in (*first, *second) if each is not None]
    if len(observables) < len(first) + len(second):
        return None

    def build(values: NDArray[np.float64], _: Any) -> Any:
        own = values[: len(first)]
        found = np.maximum(0.0, values[len(first) :] - own**2) if second else own
        return found.tolist() if result.targets is None else float(found[0])

    return Estimated(observables, build)


def _probability(targets: Sequence[int]) -> Estimated:
    products = list(product((0, 3), repeat=len(targets)))
    ordered = sorted(targets)
    places = [ordered.index(each) for each in targets]

    def build(values: NDArray[np.float64], _: Any) -> Any:
        # Each factor is a diagonal of 1 and 1, or of 1 and -1.
        total = sum(
            value * _tensor([np.diag(_MATRICES[each]).real for each in letters])
            for value, letters in zip(values, products, strict=True)
        )
        # The SDK's order of more than two targets is not always that of the targets.
        return marginal_probability(np.clip(total / len(products), 0.0, 1.0), places)

    return Estimated([_paulis(letters, ordered) for letters in products], build)


def _density_matrix(targets: Sequence[int]) -> Estimated:
    products = list(product(range(4), repeat=len(targets)))

    def build(values: NDArray[np.float64], _: Any) -> Any:
        total = sum(
            value * _tensor([_MATRICES[each] for each in letters])
            for value, letters in zip(values, products, strict=True)
        )
        return np.asarray(total, dtype=np.complex128) / (1 << len(targets))

    return Estimated([_paulis(letters, targets) for letters in products], build)


def _tensor(factors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    whole: NDArray[Any] = np.ones((1,) * factors[0].ndim)
    for each in factors:
        whole = np.kron(whole, each)
    return whole


def _paulis(letters: Sequence[int], targets: Sequence[int]) -> Observable:
    factors = [(None, X, Y, Z)[letter] for letter in letters]
    return _packed([kind(target) for kind, target in zip(factors, targets, strict=True) if kind]) or _IDENTITY


def _squared(factors: Sequence[Any]) -> list[Any]:
    """Return the square of a product, without factors whose square is the identity."""
    matrices = [each for each in factors if isinstance(each, Hermitian)]
    return [Hermitian(each.to_matrix() @ each.to_matrix(), targets=each.targets) for each in matrices]


def _packed(factors: Sequence[Any]) -> Observable | None:
    """Return a product as Pauli terms; None if they are too many."""
    if not factors:
        return _IDENTITY
    terms = 1
    for each in factors:
        terms *= 4**each.qubit_count if isinstance(each, Hermitian) else 2 if isinstance(each, H) else 1
    if terms > _MOST_PRODUCTS:
        return None
    return observables_of(factors[0] if len(factors) == 1 else TensorProduct(list(factors)))[0]
