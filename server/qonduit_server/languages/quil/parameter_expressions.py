# SPDX-License-Identifier: Apache-2.0
"""Expressions of Quil: known ones are evaluated, those that read memory stay trees."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from quil.expression import Expression, ExpressionFunction, InfixOperator, PrefixOperator
from quil.instructions import MemoryReference

from qonduit_server.errors import ProgramError
from qonduit_server.ir.symbolic import NotSymbolic, Symbolic, expression_of

#: Maximum imaginary part of a real number: complex powers and roots are not exact.
_REAL: Final = 1e-9


@dataclass(frozen=True)
class Element:
    """An element of classical memory, by its number."""

    cell: int


@dataclass(frozen=True)
class Operation:
    """An operator or function with its operands."""

    name: str
    parts: tuple[Tree, ...]


#: A number; a `Symbolic` one depends on a free input.
Known: TypeAlias = complex | Symbolic
Tree: TypeAlias = complex | Symbolic | Element | Operation

_FUNCTIONS: Final[dict[ExpressionFunction, str]] = {
    ExpressionFunction.CIS: "cis",
    ExpressionFunction.COSINE: "cos",
    ExpressionFunction.EXPONENT: "exp",
    ExpressionFunction.SINE: "sin",
    ExpressionFunction.SQUARE_ROOT: "sqrt",
}
_OPERATORS: Final[dict[InfixOperator, str]] = {
    InfixOperator.PLUS: "+",
    InfixOperator.MINUS: "-",
    InfixOperator.STAR: "*",
    InfixOperator.SLASH: "/",
    InfixOperator.CARET: "^",
}
_COMPUTE: Final[dict[str, Callable[..., complex]]] = {
    "cis": lambda x: cmath.exp(1j * x),
    "cos": cmath.cos,
    "exp": cmath.exp,
    "sin": cmath.sin,
    "sqrt": cmath.sqrt,
    "negative": lambda x: -x,
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "^": lambda x, y: _power(x, y),
}


def tree(expression: Expression, variables: Mapping[str, Tree], element: Callable[[MemoryReference], Tree]) -> Tree:
    """Return an expression with its parameters replaced by values.

    Args:
        element: returns the number of a memory element.

    Raises:
        ProgramError: it cannot be evaluated, or has unknown parameters.
    """
    match expression:
        case Expression.Number(value):
            return complex(value)
        case Expression.Pi():
            return complex(math.pi)
        case Expression.Variable(name):
            if name not in variables:
                raise ProgramError("SYNTAX_ERROR", f"%{name} is not a parameter of its definition")
            return variables[name]
        case Expression.Address(reference):
            return element(reference)
        case Expression.FunctionCall(call):
            return _applied(_FUNCTIONS[call.function], tree(call.expression, variables, element))
        case Expression.Infix(infix):
            left, right = tree(infix.left, variables, element), tree(infix.right, variables, element)
            return _applied(_OPERATORS[infix.operator], left, right)
        case Expression.Prefix(prefix):
            inner = tree(prefix.expression, variables, element)
            return inner if prefix.operator == PrefixOperator.PLUS else _applied("negative", inner)
    raise ProgramError("UNSUPPORTED_CONSTRUCT", "an expression is of an unsupported kind")


def elements(node: Tree) -> set[int]:
    """Return the memory elements that an expression reads."""
    if isinstance(node, Operation):
        return set().union(*(elements(part) for part in node.parts))
    return {node.cell} if isinstance(node, Element) else set()


def value(node: Tree, memory: Mapping[int, Known]) -> Known:
    """Evaluate with the values of memory."""
    if isinstance(node, Operation):
        return _computed(node.name, [value(part, memory) for part in node.parts])
    return memory[node.cell] if isinstance(node, Element) else node


def real(number: Known, what: str) -> float:
    """Return a number that must be real, or an expression of Qiskit over free inputs."""
    if isinstance(number, Symbolic):
        expression: float = expression_of(number)
        return expression
    if abs(number.imag) > _REAL * max(1.0, abs(number)):
        raise ProgramError("SYNTAX_ERROR", f"{what} is not a real number")
    return number.real


def _applied(name: str, *parts: Tree) -> Tree:
    numbers = [part for part in parts if isinstance(part, complex | Symbolic)]
    return _computed(name, numbers) if len(numbers) == len(parts) else Operation(name, parts)


def _computed(name: str, numbers: list[Known]) -> Known:
    if any(isinstance(each, Symbolic) for each in numbers):
        return _symbolic(name, numbers)
    try:
        result = complex(_COMPUTE[name](*numbers))
    except ZeroDivisionError:
        raise ProgramError("SYNTAX_ERROR", "an expression divides by zero") from None
    except (ArithmeticError, ValueError) as error:
        raise ProgramError("SYNTAX_ERROR", f"an expression cannot be computed: {error}") from None
    if not cmath.isfinite(result):
        raise ProgramError("SYNTAX_ERROR", "an expression is not a finite number")
    return result


def _symbolic(name: str, numbers: list[Known]) -> Known:
    """Apply an operator or a function that has a real value for all real operands."""
    if name in ("cos", "sin", "exp"):
        return cast("Symbolic", numbers[0]).apply(name)
    if name in ("+", "-", "*", "/", "negative"):
        return _COMPUTE[name](*numbers)
    raise NotSymbolic(f"{name} of a free input may not be a real number")


def _power(base: complex, exponent: complex) -> complex:
    if base.imag == 0 and exponent.imag == 0 and (base.real >= 0 or exponent.real == int(exponent.real)):
        return complex(math.pow(base.real, exponent.real))
    return base**exponent
