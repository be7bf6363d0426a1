# SPDX-License-Identifier: Apache-2.0
"""Inputs of OpenQASM 3 programs: the job's values, converted to the declared types."""

from __future__ import annotations

from typing import Final

from openqasm3 import ast

from qonduit_server.ir.classical.values import INTEGER_BITS, Type, Value, as_bits, coerce, unsupported
from qonduit_server.ir.classical.variables import Held, Variable
from qonduit_server.ir.limits import MAX_CLBITS, too_large
from qonduit_server.ir.symbolic import NotSymbolic, Symbolic
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import array_type, declared_type
from qonduit_server.languages.program_inputs import elements, mismatch, number

#: The largest exact integer of JSON's numbers, which are doubles.
_EXACT: Final = 1 << 53


def declare(context: EvaluationContext, node: ast.IODeclaration) -> None:
    """Declare a variable with the job's value. An input register of bits is not part of the result.

    Raises:
        ProgramError: MISSING_INPUT, the job gives no value; INVALID_INPUT, not a value of that type.
    """
    name = node.identifier.name
    if isinstance(node.type, ast.ArrayType):
        if isinstance(context.inputs.get(name), Symbolic):
            raise NotSymbolic(f"the input {name!r} is an array, whose elements are named {name}[0] and so on")
        base, sizes = array_type(context, node.type)
        given = elements(name, sizes, context.inputs, context.inputs_used)
        variable = Variable(name, base, _array(name, base, sizes, given))
    else:
        given = elements(name, (), context.inputs, context.inputs_used)
        declared = declared_type(context, node.type)
        variable = Variable(name, declared, value(name, declared, given), constant=declared.kind == "bit")
    context.scopes.declare(name, variable)


def _array(name: str, base: Type, sizes: list[int], given: object) -> Held:
    if not sizes:
        return value(name, base, given)
    if not isinstance(given, list) or len(given) != sizes[0]:
        raise mismatch(name, f"lists of {' times '.join(str(size) for size in sizes)} values", given)
    return tuple(_array(name, base, sizes[1:], each) for each in given)


def value(name: str, declared: Type, given: object) -> Value:
    """Return the value of an input of a scalar type or a register of bits."""
    width = declared.width
    match declared.kind:
        case "bit":
            return _bits(name, width, given)
        case "bool":
            if isinstance(given, bool) or given in (0, 1):
                return bool(given)
            raise mismatch(name, "true or false", given)
        case "int" | "uint":
            return _whole(name, declared, given)
        case "float" | "angle":
            return coerce(declared, number(name, given))
        case "complex":
            if isinstance(given, list) and len(given) == 2:
                return complex(number(name, given[0]), number(name, given[1]))
            return complex(number(name, given))
    raise unsupported(
        f"the input {name!r} is a {declared.kind}: inputs are numbers, Booleans, bits and arrays of these"
    )


def _bits(name: str, width: int, given: object) -> Value:
    """Return a register from a text, highest bit first, or from a number."""
    size = width or 1
    if size > MAX_CLBITS:
        raise too_large(f"the input {name!r} has more than {MAX_CLBITS} bits")
    if isinstance(given, str) and len(given) == size and set(given) <= {"0", "1"}:
        return as_bits(int(given, 2), size, scalar=not width)
    if isinstance(given, bool | int | float) and given in range(1 << min(size, 53)):
        return as_bits(int(given), size, scalar=not width)
    raise mismatch(name, f"a text of {size} characters 0 or 1, the highest bit first" if width else "0 or 1", given)


def _whole(name: str, declared: Type, given: object) -> Value:
    whole = number(name, given)
    width = declared.width or INTEGER_BITS
    low, high = (0, (1 << width) - 1) if declared.kind == "uint" else (-(1 << (width - 1)), (1 << (width - 1)) - 1)
    if whole != int(whole) or abs(whole) > _EXACT or not low <= whole <= high:
        raise mismatch(name, f"a whole number between {max(low, -_EXACT)} and {min(high, _EXACT)}", given)
    return int(whole)
