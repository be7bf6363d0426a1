# SPDX-License-Identifier: Apache-2.0
"""Observables: real sums of products of Pauli matrices, from text or from packed terms.

Pure Python: the server process checks observables when a job is submitted, and loads no NumPy and no SDK.

    sum     = [sign] product { sign product }
    product = factor { ["*"] {sign} factor }     without "*": no number and no sign after the first factor
    factor  = number | "I" | ("X" | "Y" | "Z" | "I") qubit | "(" sum ")"
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeAlias

#: Maximum number of qubits; the same as of programs.
MAX_QUBITS: Final = 4096
#: Maximum number of products that the parentheses of an expression expand to.
MAX_PRODUCTS: Final = 100_000
#: Maximum length of an expression whose sum is kept in memory.
_KEPT_LENGTH: Final = 2048
#: Maximum nesting depth of parentheses.
MAX_DEPTH: Final = 32
#: An imaginary coefficient cancels if it is this small, relative to the sum of the absolute values that it is made of.
_CANCELLED: Final = 1e-12
_ALLOWED: Final = "numbers, I, X, Y and Z with a qubit number (X0), '*', '+', '-', '(' and ')'"
_TOKEN: Final = re.compile(
    r"[ \t\r\n]*(?:([IXYZ])([0-9]*)|((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|([-+*()])|$)", re.ASCII
)
_PAULI, _QUBIT, _NUMBER, _SIGN = 1, 2, 3, 4
#: A further Pauli of the same product: most tokens are, so they are read in one step.
_NEXT_PAULI: Final = re.compile(r"[ \t\r\n]*(?:\*[ \t\r\n]*)?([IXYZ])([0-9]+)", re.ASCII)
_MAX_QUBIT_DIGITS: Final = len(str(MAX_QUBITS - 1))
#: Powers of i: exact, while 1j ** k is not.
_POWERS: Final = (1 + 0j, 1j, -1 + 0j, -1j)
#: The power of i of a product of two Pauli matrices of one qubit: index 8 x1 + 4 z1 + 2 x2 + z2, where Y is x and z.
_PHASES: Final = (0, 0, 0, 0, 0, 0, 1, 3, 0, 3, 0, 1, 0, 1, 3, 0)
_BITS: Final = {"I": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}

_Key: TypeAlias = tuple[int, int]


class PauliSumError(ValueError):
    """The text or the terms are no observable. The message names the place and the allowed values."""


@dataclass(frozen=True)
class PauliSum:
    """A real sum of Pauli products. Bit k of a mask is qubit k: X sets the x mask, Z the z mask, Y both.

    Equal products are merged, in order of first appearance. Products with coefficient 0 are left out; if all are, the
    identity with coefficient 0 is left.
    """

    coefficients: tuple[float, ...]
    x_masks: tuple[int, ...]
    z_masks: tuple[int, ...]

    @property
    def num_qubits(self) -> int:
        """Return the highest qubit used plus 1; 0 for a multiple of the identity."""
        return max((x | z).bit_length() for x, z in zip(self.x_masks, self.z_masks, strict=True))


def parse(expression: str) -> PauliSum:
    """Parse an expression as `1.5*X0*X1 - 0.5*Z0 + 0.25`, in time linear in its length unless sums are multiplied.

    Products on the same qubit are multiplied out. Numbers are real; a product as `X0*Y0` has the imaginary coefficient
    i, which other terms must cancel.

    Raises:
        PauliSumError: it is no real sum of Pauli products, or exceeds a limit.
    """
    # Without parentheses, the number of products is limited by the length.
    if len(expression) <= _KEPT_LENGTH and "(" not in expression:
        return _parse_kept(expression)
    return _parse(expression)


def _parse(expression: str) -> PauliSum:
    return _canonical(_Parser(expression).parse(), expression)


#: The steps of a variational loop have the same observables.
_parse_kept: Final = lru_cache(maxsize=32)(_parse)


def from_masks(coefficients: Sequence[float], x_masks: bytes, z_masks: bytes, num_qubits: int) -> PauliSum:
    """Return the sum of packed terms.

    Args:
        coefficients: one number a term.
        x_masks: the masks one after another, each a big-endian integer of ceil(num_qubits / 8) bytes.
        z_masks: as `x_masks`.
        num_qubits: the width of the masks.

    Raises:
        PauliSumError: the lengths do not match, a mask has a bit above the last qubit, or a coefficient is not finite.
    """
    if not 0 <= num_qubits <= MAX_QUBITS:
        raise PauliSumError(f"num_qubits must be 0 to {MAX_QUBITS}, got {num_qubits}")
    if not coefficients:
        raise PauliSumError("an observable must have at least one coefficient, got none")
    width = (num_qubits + 7) // 8
    for name, masks in (("x_masks", x_masks), ("z_masks", z_masks)):
        if len(masks) != width * len(coefficients):
            raise PauliSumError(
                f"{name} must have {width} bytes for each of {len(coefficients)} coefficients ({num_qubits} qubits), "
                f"{width * len(coefficients)} together, got {len(masks)}"
            )
    terms: dict[_Key, float] = {}
    for place, coefficient in enumerate(coefficients):
        if not math.isfinite(coefficient):
            raise PauliSumError(f"coefficients[{place}] must be finite, got {coefficient:g}")
        part = slice(place * width, (place + 1) * width)
        key = (int.from_bytes(x_masks[part], "big"), int.from_bytes(z_masks[part], "big"))
        highest = (key[0] | key[1]).bit_length()
        if highest > num_qubits:
            raise PauliSumError(
                f"the masks of term {place} use qubit {highest - 1}; with num_qubits = {num_qubits}, "
                f"bits must be below {num_qubits}"
            )
        terms[key] = terms.get(key, 0.0) + coefficient
    return _of(terms)


def _of(terms: dict[_Key, float]) -> PauliSum:
    kept = {key: value for key, value in terms.items() if value} or {(0, 0): 0.0}
    for key, value in kept.items():
        if not math.isfinite(value):
            raise _out_of_range(key)
    return PauliSum(tuple(kept.values()), tuple(x for x, _ in kept), tuple(z for _, z in kept))


def _out_of_range(key: _Key) -> PauliSumError:
    return PauliSumError(f"the coefficient of {describe(*key)[:64]} exceeds the range of 64-bit floats")


def describe(x_mask: int, z_mask: int) -> str:
    """Return a product as text, for example "X0*Y2"; the identity is "I"."""
    support, names = x_mask | z_mask, []
    while support:
        qubit = (support & -support).bit_length() - 1
        names.append(f"{'.ZXY'[2 * (x_mask >> qubit & 1) + (z_mask >> qubit & 1)]}{qubit}")
        support &= support - 1
    return "*".join(names) or "I"


@dataclass
class _Sum:
    """A sum with complex coefficients."""

    terms: dict[_Key, complex] = field(default_factory=dict)
    #: Of products with imaginary parts: the sum of their absolute values, and the column of the first one.
    imaginary: dict[_Key, tuple[float, int]] = field(default_factory=dict)

    def add(self, key: _Key, coefficient: complex, column: int) -> None:
        self.terms[key] = self.terms.get(key, 0.0) + coefficient
        if coefficient.imag:
            weight, first = self.imaginary.get(key, (0.0, column))
            self.imaginary[key] = (weight + abs(coefficient.imag), first)

    def settle(self) -> None:
        """Make the coefficients real whose imaginary parts cancel up to rounding."""
        for key, (weight, _) in self.imaginary.items():
            value = self.terms[key]
            if abs(value.imag) <= _CANCELLED * weight:
                self.terms[key] = complex(value.real)


def _canonical(total: _Sum, expression: str) -> PauliSum:
    for key, (_, column) in total.imaginary.items():
        value = total.terms[key]
        if not cmath.isfinite(value):
            raise _out_of_range(key)
        if value.imag:
            raise PauliSumError(
                f"column {column + 1}: the coefficient of {describe(*key)[:64]} is imaginary ({value.imag:g}i): "
                "products of different Paulis on one qubit are imaginary (X0*Y0 = i*Z0) and must cancel in the sum"
            )
    return _of({key: value.real for key, value in total.terms.items()})


class _Parser:
    """Parses one expression, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next = 0
        self._products = 0
        self._advance()

    def _advance(self) -> None:
        """Read the next token: `_kind` is its group, 0 at the end, `_token` its text, `_column` its place."""
        match = _TOKEN.match(self._text, self._next)
        if match is None:
            rest = self._text[self._next :].lstrip(" \t\r\n")
            raise self._error(f"unexpected {rest[:1]!r}", len(self._text) - len(rest))
        self._match = match
        kind = match.lastindex or 0
        self._kind = _PAULI if kind == _QUBIT else kind
        self._token: str = match[self._kind] if kind else ""
        self._column = match.start(self._kind) if kind else len(self._text)
        self._next = match.end()

    def _error(self, what: str, column: int | None = None, allowed: str = f"allowed are {_ALLOWED}") -> PauliSumError:
        return PauliSumError(f"column {(self._column if column is None else column) + 1}: {what}; {allowed}")

    def parse(self) -> _Sum:
        """Parse all of the text."""
        if not self._kind:
            raise PauliSumError("the observable is empty; write a sum such as 1.5*X0*X1 - 0.5*Z0 + 0.25")
        total = self._sum(0)
        if self._kind:
            raise self._error(f"unexpected {self._token!r}")
        return total

    def _sum(self, depth: int) -> _Sum:
        total = _Sum()
        while True:
            factor = self._signs()
            column = self._column
            product = self._product(factor, depth)
            if isinstance(product, _Sum):
                for key, value in product.terms.items():
                    total.add(key, value, column)
            else:
                total.add(product[0], product[1], column)
            if self._kind != _SIGN or self._token not in "+-":
                total.settle()
                return total

    def _signs(self) -> float:
        """Read signs in front of a factor; return their product."""
        sign = 1.0
        while self._kind == _SIGN and self._token in "+-":
            if self._token == "-":
                sign = -sign
            self._advance()
        return sign

    def _product(self, factor: float, depth: int) -> _Sum | tuple[_Key, complex]:
        """Read a product: as one term while it has no parentheses, because most have none."""
        x = z = power = 0
        sums: list[_Sum] = []
        column = self._column
        while True:
            kind = self._kind
            if kind == _PAULI:
                x, z, power = self._paulis(x, z, power)
            elif kind == _NUMBER:
                factor *= self._number()
                self._advance()
            elif kind == _SIGN and self._token == "(":
                sums.append(self._parenthesis(depth, _Sum({(x, z): _POWERS[power % 4] * factor}), sums))
                x, z, power, factor = 0, 0, 0, 1.0
            else:
                raise self._error(
                    f"a factor is missing before {self._token!r}" if kind else "a factor is missing at the end"
                )
            kind = self._kind
            if kind == _SIGN and self._token == "*":
                self._advance()
                factor *= self._signs()
            elif kind == _NUMBER:
                raise self._error(f"unexpected {self._token[:32]!r}", allowed="write '*' or a sign before a number")
            elif kind != _PAULI and self._token != "(":
                break
        if not math.isfinite(factor):
            raise self._error("the coefficient exceeds the range of 64-bit floats", column, "use smaller numbers")
        own = _POWERS[power % 4] * factor
        return self._times(sums[-1], _Sum({(x, z): own})) if sums else ((x, z), own)

    def _paulis(self, x: int, z: int, power: int) -> tuple[int, int, int]:
        """Multiply a product by the Pauli at hand and those that follow; the power of i is kept apart."""
        match: re.Match[str] | None = self._match
        if not self._match[_QUBIT]:
            if self._token != "I":
                raise self._error(f"{self._token} needs a qubit number", allowed=f"write for example {self._token}0")
            match = None
        while match is not None:
            letter, digits = match[_PAULI], match[_QUBIT]
            if len(digits) > _MAX_QUBIT_DIGITS or (qubit := int(digits)) >= MAX_QUBITS:
                raise self._error(
                    f"qubit number {digits[:16]} is too large",
                    match.start(_PAULI),
                    f"qubits are numbered from 0 to {MAX_QUBITS - 1}",
                )
            own_x, own_z = _BITS[letter]
            power += _PHASES[(x >> qubit & 1) << 3 | (z >> qubit & 1) << 2 | own_x << 1 | own_z]
            x ^= own_x << qubit
            z ^= own_z << qubit
            self._next = match.end()
            match = _NEXT_PAULI.match(self._text, self._next)
        self._advance()
        return x, z, power

    def _number(self) -> float:
        value = float(self._token)
        if not math.isfinite(value):
            raise self._error(
                f"the number {self._token[:32]} exceeds the range of 64-bit floats", allowed="use a smaller one"
            )
        return value

    def _parenthesis(self, depth: int, before: _Sum, sums: list[_Sum]) -> _Sum:
        """Read a sum in parentheses; return its product with the factors before."""
        if depth == MAX_DEPTH:
            raise self._error(f"parentheses are nested more than {MAX_DEPTH} deep", allowed="expand some of them")
        column = self._column
        self._advance()
        inner = self._sum(depth + 1)
        if self._kind != _SIGN or self._token != ")":
            raise self._error("the parenthesis is not closed", column, "write ')' after its sum")
        self._advance()
        return self._times(self._times(sums[-1], before) if sums else before, inner)

    def _times(self, left: _Sum, right: _Sum) -> _Sum:
        self._products += len(left.terms) * len(right.terms)
        if self._products > MAX_PRODUCTS:
            raise self._error(
                f"the parentheses expand to more than {MAX_PRODUCTS} products", allowed="send the terms as packed masks"
            )
        found = _Sum()
        for (x1, z1), one in left.terms.items():
            for (x2, z2), other in right.terms.items():
                x, z = x1 ^ x2, z1 ^ z2
                power = (x1 & z1).bit_count() + (x2 & z2).bit_count() + 2 * (z1 & x2).bit_count() - (x & z).bit_count()
                found.add((x, z), _POWERS[power % 4] * one * other, self._column)
        found.settle()
        return found
