# SPDX-License-Identifier: Apache-2.0
"""Convert observables (text, dictionaries, objects of SDKs) to messages.

The package of an object's class identifies its SDK, so that this module imports only SDKs that the caller has
imported already.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import index
from typing import Any, Final, TypeAlias

from qonduit.v1.estimator_pb2 import Observable, PauliTerms

#: One observable: text ("1.5*X0*X1 - 0.5*Z0 + 0.25"), a dictionary from products to coefficients ({"X0*X1": 1.5}, or
#: {((0, "X"), (1, "X")): 1.5}), a message, or an object of Qiskit, Cirq, Braket or PennyLane.
ObservableLike: TypeAlias = str | Observable | PauliTerms | Mapping[Any, complex] | Any
#: The qubits of an SDK (Cirq's qubits, PennyLane's wires, Braket's numbers), in the order of the program's qubits.
QubitOrder: TypeAlias = Sequence[Any]

_Mask: TypeAlias = tuple[int, int]
#: Imaginary parts up to this share of a coefficient are rounding errors.
_ROUNDING: Final = 1e-12
#: Matrices are decomposed into at most 4^n products.
_MOST_MATRIX_QUBITS: Final = 6
_MATRICES: Final = {
    "I": ((1, 0), (0, 1)),
    "X": ((0, 1), (1, 0)),
    "Y": ((0, -1j), (1j, 0)),
    "Z": ((1, 0), (0, -1)),
}
_BITS: Final = {"I": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}


def observables_of(
    observables: ObservableLike | Iterable[ObservableLike], qubits: QubitOrder | None = None, program: object = None
) -> list[Observable]:
    """Return the messages of one or several observables.

    Args:
        observables: one observable, or a list of them.
        qubits: the SDK's qubits in the order of the program's. By default those of the program, if it is a circuit of
            the same SDK, else the qubits must have numbers.
        program: the program that the observables refer to.

    Raises:
        ValueError: an observable has a complex coefficient, an unsupported factor or an unknown qubit.
        TypeError: a value is no observable.
    """
    # Sums of Cirq and PennyLane are iterable too, so an SDK's object is always one observable.
    if (
        isinstance(observables, str | Observable | PauliTerms | Mapping)
        or _package(observables) is not None
        or not isinstance(observables, Iterable)
    ):
        observables = [observables]
    place = _Places(qubits, program)
    return [_observable(each, place) for each in observables]


def _observable(value: ObservableLike, place: _Places) -> Observable:
    if isinstance(value, Observable):
        return value
    if isinstance(value, str):
        return Observable(expression=value)
    if isinstance(value, PauliTerms):
        return Observable(terms=value)
    package = _package(value)  # before dictionaries: sentences of PennyLane are some
    if package is None and isinstance(value, Mapping):
        return _from_mapping(value)
    if package is None:
        raise TypeError(
            f"{value!r} is not an observable: pass text as '1.5*X0*X1 - Z0', a dictionary as {{'X0*X1': 1.5}}, or an "
            "observable of Qiskit, Cirq, Braket or PennyLane"
        )
    return Observable(terms=_CONVERTERS[package](value, place))


def _package(value: object) -> str | None:
    for kind in type(value).__mro__:
        package = (kind.__module__ or "").partition(".")[0]
        if package in _CONVERTERS:
            return package
    return None


class _Places:
    """The numbers of an SDK's qubits in the program."""

    def __init__(self, qubits: QubitOrder | None, program: object) -> None:
        self._program = program
        self._given = None if qubits is None else self._numbered(qubits)
        self._own: dict[str, dict[Any, int] | None] = {}

    def of(self, package: str, qubit: Any) -> int:
        """Return the number of a qubit. Raises ValueError."""
        places = self._given
        if places is None:
            if package not in self._own:
                self._own[package] = self._of_program(package)
            places = self._own[package]
        if places is None:
            # A LineQubit of Cirq has its number as x.
            number = getattr(qubit, "x", qubit)
            try:
                return index(number)
            except TypeError:
                raise ValueError(
                    f"qubit {qubit!r} of an observable has no number: pass qubits=, the qubits in the order in which "
                    "the program declares them"
                ) from None
        if qubit not in places:
            known = ", ".join(map(repr, list(places)[:8]))
            raise ValueError(f"qubit {qubit!r} of an observable is not a qubit of the program; its qubits are {known}")
        return places[qubit]

    @staticmethod
    def _numbered(qubits: QubitOrder) -> dict[Any, int]:
        places = {qubit: number for number, qubit in enumerate(qubits)}
        if len(places) != len(qubits):
            raise ValueError("qubits contains a qubit twice")
        return places

    def _of_program(self, package: str) -> dict[Any, int] | None:
        """Return the numbers of the qubits of a circuit object of the same SDK, as the server reads it."""
        if package == "cirq" and callable(every := getattr(self._program, "all_qubits", None)):
            return self._numbered(sorted(every()))
        if package == "pennylane" and (wires := getattr(self._program, "wires", None)) is not None:
            return self._numbered(list(wires))
        return None


class _Terms:
    """Products with their coefficients; equal products are merged."""

    def __init__(self) -> None:
        self._terms: dict[_Mask, complex] = {}

    def add(self, mask: _Mask, coefficient: Any) -> None:
        """Add a product."""
        self._terms[mask] = self._terms.get(mask, 0) + complex(coefficient)

    def packed(self) -> PauliTerms:
        """Return the message. Raises ValueError for a complex coefficient."""
        # At least one qubit, also for a multiple of the identity.
        number = max((1, *((x | z).bit_length() for x, z in self._terms)))
        width = (number + 7) // 8
        return PauliTerms(
            coefficients=[_real(mask, value) for mask, value in self._terms.items()] or [0.0],
            x_masks=b"".join(x.to_bytes(width, "big") for x, _ in self._terms),
            z_masks=b"".join(z.to_bytes(width, "big") for _, z in self._terms),
            num_qubits=number,
        )


def _real(mask: _Mask, value: complex) -> float:
    if not cmath.isfinite(value):
        raise ValueError(f"the coefficient of {_named(mask)} must be finite, got {value}")
    if abs(value.imag) > _ROUNDING * abs(value):
        raise ValueError(
            f"the coefficient of {_named(mask)} must be real, got {value}: an observable is a Hermitian operator"
        )
    return value.real


def _named(mask: _Mask) -> str:
    x, z = mask
    letters = (
        f"{'.ZXY'[2 * (x >> qubit & 1) + (z >> qubit & 1)]}{qubit}"
        for qubit in range((x | z).bit_length())
        if (x | z) >> qubit & 1
    )
    return "*".join(letters) or "I"


def _mask(factors: Iterable[tuple[int, str]]) -> _Mask:
    """Return the masks of a product of Paulis on different qubits."""
    x = z = 0
    for qubit, letter in factors:
        own_x, own_z = _BITS[letter]
        x |= own_x << qubit
        z |= own_z << qubit
    return x, z


# Dictionaries


def _from_mapping(products: Mapping[Any, complex]) -> Observable:
    if all(isinstance(key, str) for key in products):
        if not products:
            raise ValueError("the observable is an empty dictionary; write a product with a coefficient: {'X0*X1': 1}")
        return Observable(expression=" + ".join(_product(key, value) for key, value in products.items()))
    terms = _Terms()
    for key, value in products.items():
        factors = list(key)
        if not all(
            isinstance(factor, tuple) and len(factor) == 2 and isinstance(factor[0], int) and factor[1] in _BITS
            for factor in factors
        ) or len({qubit for qubit, _ in factors}) != len(factors):
            raise ValueError(f"expected a product as 'X0*X1' or ((0, 'X'), (1, 'X')), got {key!r}")
        terms.add(_mask(factors), value)
    return Observable(terms=terms.packed())


def _product(key: str, value: complex) -> str:
    if not key.strip():
        key = "I"
    elif any(sign in key for sign in "+-"):
        key = f"({key})"
    number = complex(value)
    if number.imag or not cmath.isfinite(number):
        raise ValueError(f"the coefficient of {key!r} must be a finite real number, got {value!r}")
    return f"{number.real!r}*{key}"


# Qiskit


def _qiskit(value: Any, place: _Places) -> PauliTerms:
    """Convert a SparsePauliOp, Pauli, PauliList or SparseObservable: qubit k is the program's qubit k."""
    import numpy as np
    from qiskit.quantum_info import Pauli, SparseObservable, SparsePauliOp

    if isinstance(value, SparseObservable):
        value = SparsePauliOp.from_sparse_observable(value)
    elif isinstance(value, Pauli):
        value = SparsePauliOp(value)
    if not isinstance(value, SparsePauliOp):
        raise _unsupported(value, "a SparsePauliOp, Pauli or SparseObservable")
    coefficients = np.asarray(value.coeffs, dtype=np.complex128)
    paulis = value.paulis
    if len(coefficients) and bool(np.any(np.abs(coefficients.imag) > _ROUNDING * np.abs(coefficients))):
        value = value.simplify()  # imaginary parts of equal products may cancel
        coefficients, paulis = np.asarray(value.coeffs, dtype=np.complex128), value.paulis
        for row, each in enumerate(coefficients):
            x, z = (sum(1 << int(k) for k in np.flatnonzero(bits[row])) for bits in (paulis.x, paulis.z))
            _real((x, z), complex(each))
    number = paulis.num_qubits

    def packed(bits: Any) -> bytes:
        columns = np.zeros((len(bits), (number + 7) // 8 * 8), dtype=np.uint8)
        columns[:, :number] = bits
        return bytes(np.packbits(columns[:, ::-1], axis=1))

    return PauliTerms(
        coefficients=coefficients.real.tolist(),
        x_masks=packed(paulis.x),
        z_masks=packed(paulis.z),
        num_qubits=number,
    )


# Cirq


def _cirq(value: Any, place: _Places) -> PauliTerms:
    """Convert a PauliSum, a PauliString or a Pauli gate on a qubit."""
    import cirq

    if isinstance(value, cirq.PauliString):
        strings: Iterable[Any] = [value]
    elif isinstance(value, cirq.PauliSum):
        strings = value
    else:
        raise _unsupported(value, "a PauliSum or a PauliString")
    terms = _Terms()
    for string in strings:
        if cirq.is_parameterized(string):
            raise ValueError(f"{string} has a coefficient without a value: resolve its parameters first")
        factors = [(place.of("cirq", qubit), str(gate)) for qubit, gate in string.items()]
        terms.add(_mask(factors), string.coefficient)
    return terms.packed()


# Braket


def _braket(value: Any, place: _Places) -> PauliTerms:
    """Convert an observable with targets: X, Y, Z, I, H, Hermitian, TensorProduct or Sum."""
    from braket.circuits import Observable as BraketObservable
    from braket.circuits.observables import Sum

    if not isinstance(value, BraketObservable):
        raise _unsupported(value, "an observable of braket.circuits.observables")
    terms = _Terms()
    scale = complex(value.coefficient) if isinstance(value, Sum) else 1.0
    for summand in value.summands if isinstance(value, Sum) else [value]:
        for mask, coefficient in _braket_product(summand, place):
            terms.add(mask, scale * coefficient)
    return terms.packed()


def _braket_product(product: Any, place: _Places) -> Iterator[tuple[_Mask, complex]]:
    from braket.circuits.observables import H, I, TensorProduct, X, Y, Z

    found: list[tuple[_Mask, complex]] = [((0, 0), complex(product.coefficient))]
    is_product = isinstance(product, TensorProduct)
    for factor in product.factors if is_product else [product]:
        if not factor.targets:
            raise ValueError(f"{factor} has no targets: write for example X(0) @ Z(1)")
        qubits = [place.of("braket", int(qubit)) for qubit in factor.targets]
        own: Iterable[tuple[_Mask, complex]]
        if isinstance(factor, H):
            own = [(_mask([(qubits[0], letter)]), 0.5**0.5) for letter in "XZ"]
        elif isinstance(factor, X | Y | Z | I):
            own = [(_mask([(qubits[0], type(factor).__name__)]), 1.0)]
        else:
            _check_matrix(len(qubits), factor)
            own = _of_matrix(factor.to_matrix() / (factor.coefficient or 1), qubits)  # it contains the coefficient
        scale = complex(factor.coefficient) if is_product else 1.0
        found = [
            ((x | own_x, z | own_z), scale * coefficient * each)
            for (x, z), coefficient in found
            for (own_x, own_z), each in own
        ]
    return iter(found)


# PennyLane


def _pennylane(value: Any, place: _Places) -> PauliTerms:
    """Convert an operator or a Pauli sentence; other Hermitian operators are decomposed into products."""
    import pennylane as qml

    if isinstance(value, qml.pauli.PauliWord):
        sentence: Any = qml.pauli.PauliSentence({value: 1.0})
    elif isinstance(value, qml.pauli.PauliSentence):
        sentence = value
    elif isinstance(value, qml.operation.Operator):
        sentence = value.pauli_rep
    else:
        raise _unsupported(value, "an operator of PennyLane")
    terms = _Terms()
    if sentence is None:
        wires = list(value.wires)
        _check_matrix(len(wires), value)
        for mask, coefficient in _of_matrix(
            qml.matrix(value, wire_order=wires), [place.of("pennylane", wire) for wire in wires]
        ):
            terms.add(mask, coefficient)
        return terms.packed()
    for word, coefficient in sentence.items():
        terms.add(_mask((place.of("pennylane", wire), letter) for wire, letter in word.items()), coefficient)
    return terms.packed()


def _of_matrix(matrix: Any, qubits: Sequence[int]) -> list[tuple[_Mask, complex]]:
    """Decompose a matrix whose first qubit is the highest bit of its indices."""
    import numpy as np

    _check_matrix(len(qubits), "a matrix")
    rest = [("", np.asarray(matrix, dtype=np.complex128))]
    for _ in qubits:
        rest = [pair for letters, each in rest for pair in _halved(letters, each)]
    scale = max(abs(complex(each[0, 0])) for _, each in rest)
    return [
        (_mask(zip(qubits, letters, strict=True)), complex(each[0, 0]))
        for letters, each in rest
        if abs(complex(each[0, 0])) > 1e-15 * scale
    ] or [((0, 0), 0.0)]


def _halved(letters: str, matrix: Any) -> Iterator[tuple[str, Any]]:
    """Yield for each Pauli of the first qubit of a matrix the matrix of the other qubits that it multiplies."""
    half = len(matrix) // 2
    blocks = matrix.reshape(2, half, 2, half).transpose(0, 2, 1, 3)
    for letter, pauli in _MATRICES.items():
        yield letters + letter, sum(pauli[column][row] / 2 * blocks[row, column] for row in (0, 1) for column in (0, 1))


def _check_matrix(number: int, value: object) -> None:
    if number > _MOST_MATRIX_QUBITS:
        raise ValueError(
            f"{value} acts on {number} qubits, and a matrix is decomposed for at most {_MOST_MATRIX_QUBITS}: write the "
            "observable as a sum of Pauli products"
        )


def _unsupported(value: object, allowed: str) -> TypeError:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return TypeError(f"{name} is not supported as an observable: pass {allowed}")


_CONVERTERS: Final[dict[str, Callable[[Any, _Places], PauliTerms]]] = {
    "qiskit": _qiskit,
    "cirq": _cirq,
    "braket": _braket,
    "pennylane": _pennylane,
}
