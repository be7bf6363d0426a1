# SPDX-License-Identifier: Apache-2.0
"""Read the result type AdjointGradient of programs, which Braket's own interpreter reads as an expectation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from braket.circuits.observables import Sum, TensorProduct
from braket.ir.jaqcd import AdjointGradient
from braket.ir.openqasm import Program

from qonduit_client.braket.exact_values import Estimated, factors_of
from qonduit_client.observables import observables_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PRAGMA: Final = re.compile(
    r"^[ \t]*#pragma[ \t]+braket[ \t]+result[ \t]+adjoint_gradient[ \t]+expectation[ \t]*\((.*)\)([^()\n]*)$",
    re.MULTILINE,
)
_ANY_PRAGMA: Final = re.compile(r"^[ \t]*#pragma[ \t]+braket[ \t]+result[ \t]+adjoint_gradient\b", re.MULTILINE)
_RESULT: Final = re.compile(r"^[ \t]*#pragma[ \t]+braket[ \t]+result\b", re.MULTILINE)
_INPUT: Final = re.compile(r"\binput\s+(?:float|angle)(?:\[[^\]]*\])?\s+(\w+)\s*;")
_COEFFICIENT: Final = re.compile(r"\s*([+-]?)\s*(?:((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*)?\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Gradient:
    """An AdjointGradient of a program whose terms are expectations in its place.

    Attributes:
        first: the index of the first of these expectations among the results of the program.
        coefficients: of the terms.
        names: of the inputs by which the value is differentiated.
    """

    first: int
    coefficients: Sequence[float]
    names: Sequence[str]


def without_gradients(program: Program) -> tuple[Program, list[Gradient]]:
    """Return a program with expectations in place of gradients, and without values of the inputs of these.

    Raises:
        ValueError: a gradient is malformed, or refers to an input that the program does not declare.
        NameError: an input has no value.
    """
    if not _ANY_PRAGMA.search(program.source):
        return program, []
    declared = _INPUT.findall(program.source)
    given = dict(program.inputs or {})
    lines: list[str] = []
    gradients: list[Gradient] = []
    results = 0
    for line in program.source.split("\n"):
        found = _PRAGMA.match(line)
        if found is None:
            if _ANY_PRAGMA.match(line):
                raise ValueError(f"expected adjoint_gradient expectation(OBSERVABLE) NAME, ... or all, got {line!r}")
            results += bool(_RESULT.match(line))
            lines.append(line)
            continue
        listed = [each.strip() for each in found[2].split(",") if each.strip()]
        names = declared if listed in ([], ["all"]) else listed
        for name in names:
            if name not in declared:
                raise ValueError(f"adjoint_gradient: {name!r} is no input float of the program; it has {declared}")
            if name not in given:
                raise NameError(f"Missing input variable '{name}'.")
        terms = [_term(each) for each in _split(found[1])]
        lines += [f"#pragma braket result expectation {text}" for _, text in terms]
        gradients.append(Gradient(results, [value for value, _ in terms], names))
        results += len(terms)
    differentiated = {name for each in gradients for name in each.names}
    inputs = {name: value for name, value in given.items() if name not in differentiated}
    return Program(source="\n".join(lines), inputs=inputs), gradients


def gradient_result(gradient: Gradient, terms: Sequence[Any]) -> AdjointGradient:
    """Return the result type in Braket's intermediate representation.

    Args:
        gradient: the gradient.
        terms: its expectations, on the qubits of the program.
    """
    return AdjointGradient.construct(
        observable=[" + ".join(map(_shown, gradient.coefficients, terms))],
        targets=[list(each.targets or [0]) for each in terms],
        parameters=list(gradient.names),
        type="adjoint_gradient",
    )


def estimated_gradient(gradient: Gradient, terms: Sequence[Any], qubits: int, columns: Sequence[str]) -> Estimated:
    """Return a gradient as a function of the value and the derivatives of one observable.

    Args:
        gradient: the gradient.
        terms: its expectations, on qubits from 0 without gaps.
        qubits: the number of qubits.
        columns: the inputs of the derivatives; the value does not depend on others.

    Raises:
        ValueError: a term without targets is on several qubits, or acts on too many qubits as a matrix.
    """
    summands = []
    for coefficient, term in zip(gradient.coefficients, terms, strict=True):
        if term.targets is None and qubits > 1:
            raise ValueError("adjoint_gradient requires an observable with targets, got one for all qubits")
        factors = factors_of(term.observable, term.targets or [0])
        summands.append(coefficient * (factors[0] if len(factors) == 1 else TensorProduct(factors)))

    def build(values: NDArray[np.float64], gradients: NDArray[np.float64]) -> Any:
        own = {name: float(gradients[0, columns.index(name)]) if name in columns else 0.0 for name in gradient.names}
        return {"expectation": float(values[0]), "gradient": own}

    return Estimated(observables_of(Sum(summands)), build)


def _shown(coefficient: float, term: Any) -> str:
    factors = [each if isinstance(each, str) else f"hermitian({each})" for each in term.observable]
    return f"{coefficient!r} * {' @ '.join(factors)}"


def _split(text: str) -> Iterator[str]:
    """Yield the terms of a sum with their signs."""
    depth = begin = 0
    for place, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        before = text[begin:place].rstrip()
        # The exponent of a number has a sign too.
        if not depth and sign in "+-" and before and before[-1] not in "eE*@+-":
            yield text[begin:place]
            begin = place
    yield text[begin:]


def _term(text: str) -> tuple[float, str]:
    """Return the coefficient of a term, and its observable."""
    found = _COEFFICIENT.fullmatch(text)
    assert found is not None  # every part of the expression is optional
    sign, number, observable = found.groups()
    value = float(number) if number else 1.0
    # A second sign belongs to the coefficient: "+ -2 * z(q[0])".
    if observable.startswith("-") and not number:
        inner, rest = _term(observable)
        return (-inner if sign == "-" else inner), rest
    return (-value if sign == "-" else value), observable.strip()
