# SPDX-License-Identifier: Apache-2.0
"""SymPy expressions in Cirq's JSON, evaluated without SymPy.

SymPy converts texts to Python source and executes it. Here a text is only the name of a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from qonduit_server.ir.classical.arithmetic import binary
from qonduit_server.ir.classical.values import Bits, Table, Value, checked, number, of_formula, truth
from qonduit_server.ir.formula import parity
from qonduit_server.ir.limits import MAX_DEPTH, too_large
from qonduit_server.ir.symbolic import NotSymbolic, Symbolic, expression_of, is_open
from qonduit_server.languages.json_text import Node, integer, is_number, sequence, shown, text, unsupported, wrong
from qonduit_server.languages.json_text import number as finite
from qonduit_server.languages.program_inputs import missing
from qonduit_server.languages.signatures import Inputs

#: The value of a symbol, or of one bit of a symbol: its name and the bit's number.
Lookup = Callable[[str, int | None], Value]

_CONSTANTS: Final = {"sympy.pi": math.pi, "sympy.E": math.e, "sympy.EulerGamma": 0.57721566490153286061}
_SIGNS: Final = {
    "sympy.Add": "+",
    "sympy.Mul": "*",
    "sympy.Pow": "**",
    "sympy.Equality": "==",
    "sympy.Unequality": "!=",
    "sympy.StrictLessThan": "<",
    "sympy.LessThan": "<=",
    "sympy.StrictGreaterThan": ">",
    "sympy.GreaterThan": ">=",
    "sympy.And": "&&",
    "sympy.Or": "||",
}
#: Functions of any number of operands; the others have two.
_MANY: Final = frozenset(("sympy.Add", "sympy.Mul", "sympy.And", "sympy.Or", "sympy.Xor"))
_LOGIC: Final = frozenset(("sympy.And", "sympy.Or", "sympy.Xor"))


def name_of(node: object) -> str:
    """Return the name of a symbol."""
    if not isinstance(node, dict) or node.get("cirq_type") != "sympy.Symbol":
        raise wrong(f"a symbol is needed here, not {shown(node)}")
    return text(node.get("name"), "the name of a symbol")


def evaluate(node: object, lookup: Lookup, tick: Callable[[], None], depth: int = 0) -> Value:
    """Return the value of an expression.

    Args:
        lookup: values of symbols.
        tick: called for each operation; raises if there are too many.
    """
    if is_number(node):
        return node if isinstance(node, int) else finite(node, "a number")
    if not isinstance(node, dict):
        raise wrong(f"a number or an expression is needed, not {shown(node)}")
    if depth > MAX_DEPTH:
        raise too_large(f"an expression is nested more than {MAX_DEPTH} deep")
    kind = node.get("cirq_type")
    match kind:
        case "sympy.Symbol":
            return lookup(name_of(node), None)
        case "sympy.Integer":
            return integer(node.get("i"), "an integer")
        case "sympy.Float":
            return finite(node.get("approx"), "a number")
        case "sympy.Rational":
            return binary("/", integer(node.get("p"), "a numerator"), integer(node.get("q"), "a denominator"))
        case "sympy.Indexed":
            return _indexed(node, lookup)
    if isinstance(kind, str) and kind in _CONSTANTS:
        return _CONSTANTS[kind]
    if not isinstance(kind, str) or (kind not in _SIGNS and kind not in ("sympy.Not", "sympy.Xor")):
        raise unsupported(f"an expression holds {shown(kind)}, which is not read here")
    operands = [evaluate(each, lookup, tick, depth + 1) for each in sequence(node.get("args"), f"args of {kind}")]
    tick()
    return _apply(kind, operands, tick)


def _apply(kind: str, operands: Sequence[Value], tick: Callable[[], None]) -> Value:
    if kind in _LOGIC:
        for each in operands:
            _check_truth(each)
    if kind == "sympy.Not":
        if len(operands) != 1:
            raise wrong("sympy.Not takes one operand")
        return of_formula(parity((truth(operands[0]), truth(True))))
    if not operands or (kind not in _MANY and len(operands) != 2):
        raise wrong(f"{kind} does not take {len(operands)} operands")
    if kind == "sympy.Xor":
        return of_formula(checked(parity(truth(each) for each in operands)))
    result = operands[0]
    for each in operands[1:]:
        tick()
        result = binary(_SIGNS[kind], result, each)
    return result


def _check_truth(value: Value) -> None:
    """Return a Boolean operand: SymPy's logic rejects other numbers."""
    single = isinstance(value, Bits) and len(value.formulas) == 1
    known = isinstance(value, bool | int) and value in (0, 1)
    table = isinstance(value, Table) and all(each in (0, 1) for each in value.values)
    if not single and not known and not table:
        raise wrong("And, Or and Xor take Booleans, not numbers of several bits: compare the number first")


def _indexed(node: Node, lookup: Lookup) -> Value:
    parts = sequence(node.get("args"), "args of sympy.Indexed")
    if len(parts) != 2 or not isinstance(parts[0], dict) or parts[0].get("cirq_type") != "sympy.IndexedBase":
        raise wrong("sympy.Indexed takes a sympy.IndexedBase and an index")
    base = sequence(parts[0].get("args"), "args of sympy.IndexedBase")
    index = parts[1]
    if isinstance(index, dict) and index.get("cirq_type") == "sympy.Integer":
        index = index.get("i")
    if len(base) != 1:
        raise unsupported("a sympy.IndexedBase with a shape")
    return lookup(name_of(base[0]), integer(index, "an index"))


class Symbols:
    """The values of symbols in one circuit: expressions over symbols of the enclosing circuit, or inputs.

    Args:
        inputs: the job's inputs.
        used: collects the names of the inputs that are needed.
        tick: see `evaluate`.
        outer: the symbols of the enclosing circuit; None for the whole program.
        given: the expressions for symbols of this circuit.
        by_name: whether gates differ by name, as for a noise model. X to the power 1 is another gate than X to
            the power 0.9, so that an exponent must be known.
    """

    def __init__(
        self,
        inputs: Inputs,
        used: set[str],
        tick: Callable[[], None],
        outer: Symbols | None = None,
        given: Mapping[str, object] | None = None,
        by_name: bool = False,
    ) -> None:
        self._inputs = inputs
        self._used = used
        self._tick = tick
        self._outer = outer
        self._given = given or {}
        self._by_name = by_name
        self._known: dict[str, Value] = {}

    def inner(self, given: Mapping[str, object]) -> Symbols:
        """Return the symbols of a nested circuit."""
        return Symbols(self._inputs, self._used, self._tick, self, given, self._by_name) if given else self

    def number(self, node: object, what: str) -> float:
        """Return the value of a parameter: a finite real number, or an expression of Qiskit over free inputs."""
        if is_number(node):
            return finite(node, what)
        value = number(evaluate(node, self._value, self._tick))
        if isinstance(value, Symbolic):
            expression: float = expression_of(value)
            return expression
        if not is_number(value):
            raise wrong(f"{what} is not a real number")
        return finite(value, what)

    def exponent(self, node: object, what: str) -> float:
        """Return the value of a parameter that decides by which gate of the IR a gate is expressed.

        Raises:
            NotSymbolic: it depends on a free input, and gates are distinguished by name.
        """
        return self.known(node, what) if self._by_name else self.number(node, what)

    def known(self, node: object, what: str) -> float:
        """Return the value of a parameter that must be a number here.

        Raises:
            NotSymbolic: it depends on a free input.
        """
        value = self.number(node, what)
        if is_open(value):
            raise NotSymbolic(f"{what} depends on a free input")
        return value

    def _value(self, name: str, index: int | None) -> Value:
        if index is not None:
            raise unsupported("a parameter that is one element of a symbol")
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Value:
        if self._outer is None:
            self._used.add(name)
            if name not in self._inputs:
                raise missing(name)
            given = self._inputs[name]
            return given if isinstance(given, Symbolic) else finite(given, f"the input {name!r}")  # type: ignore[return-value]
        if name not in self._given:
            return self._outer._value(name, None)
        return evaluate(self._given[name], self._outer._value, self._tick)
