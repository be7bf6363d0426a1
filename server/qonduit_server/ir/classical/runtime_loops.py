# SPDX-License-Identifier: Apache-2.0
"""Loops whose end depends on a measurement: the only ones that stay loops in the IR.

IR bits hold the variables that such a loop writes; they are set before the loop and after each iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from qonduit_server.ir.builder import Block, Builder, Loop, Write
from qonduit_server.ir.classical.flow import Flow, flag
from qonduit_server.ir.classical.values import INTEGER_BITS, Bits, Type, Value, as_bits, truth, unsupported, word
from qonduit_server.ir.classical.variables import Held, Variable
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, negation

_WHOLE: Final = ("int", "uint")

#: A variable that the loop changes, and the IR bits that hold it from then on.
_Home: TypeAlias = tuple[Variable, tuple[int, ...]]


def repeat(flow: Flow, condition: Callable[[], Formula], body: Callable[[], None]) -> None:
    """Run a loop while a condition holds: unrolled while the condition is known, then as an IR loop."""
    broken = flag()

    def holds() -> Formula:
        repeats = flag()
        flow.branch(negation(_bit(broken)), lambda: _set(flow, repeats, condition()))
        return _bit(repeats)

    steps = len(flow.builder.block.steps)
    while (known := holds()) == TRUE:
        flow.step()
        flow.round(broken, body)
        steps = len(flow.builder.block.steps)
    if known != FALSE:
        acts = len(flow.builder.block.steps) > steps
        _loop(flow, known, acts, holds, lambda: flow.round(broken, body, sure=True))


def _loop(flow: Flow, first: Formula, acts: bool, condition: Callable[[], Formula], body: Callable[[], None]) -> None:
    """Append a loop to the IR that repeats while a condition holds.

    The condition and the body are read more than once: their meaning depends on the variables that the loop changes.

    Args:
        flow: the circuit.
        first: the condition before the first iteration.
        acts: whether evaluating it emitted operations.
        condition: evaluates the condition with the variables' current values.
        body: reads one iteration.
    """
    block = Block()
    line = flow.builder.line
    rounds, flow.rounds = flow.rounds, []
    flow.call_guards.append(None)
    flow.runtime_loops += 1
    try:
        homes: list[_Home] = []

        def move(action: Callable[[], None]) -> None:
            # The variables that an iteration changes may depend on those that the previous one changed.
            while changed := _tried(flow, action, homes)[1]:
                homes.extend(_moved(flow, variable) for variable in changed)

        move(body)
        if acts or any(_tried(flow, condition, homes)):
            # An IR loop tests bits only: one bit is set before the loop and in each iteration.
            repeats = flag()
            _set(flow, repeats, first)

            def whole() -> None:
                body()
                _set(flow, repeats, condition())

            move(whole)
            holds, read = _bit(repeats), whole
        else:
            holds, read = condition(), body
        with _round(flow, block):
            read()
            _write_back(flow.builder, homes)
        for variable, own in homes:
            variable.value = _at_home(variable, own)
    finally:
        flow.rounds = rounds
        flow.call_guards.pop()
        flow.runtime_loops -= 1
    flow.builder.line = line
    flow.builder.append(flow.conditions.guard, Loop(holds, block))


def _bit(variable: Variable) -> Formula:
    return truth(variable.value)  # type: ignore[arg-type]


def _set(flow: Flow, variable: Variable, value: Formula) -> None:
    flow.conditions.write(variable, Bits((value,), scalar=True))


@contextmanager
def _round(flow: Flow, body: Block) -> Iterator[None]:
    """Read one iteration of the loop into a separate block."""
    builder = flow.builder
    outer, builder.block = builder.block, body
    try:
        with flow.conditions.under(TRUE):
            yield
    finally:
        builder.block = outer


def _tried(flow: Flow, action: Callable[[], object], homes: Sequence[_Home]) -> tuple[int, Sequence[Variable]]:
    """Read a part of an iteration and discard the result.

    Returns:
        The number of operations, and the changed variables that have no IR bits yet.
    """
    mark, clbits = Variable("", Type("bit"), False).born, flow.builder.clbits
    block = Block()
    with _round(flow, block), flow.conditions.recorded() as journal:
        action()
    flow.builder.clbits = clbits
    for variable, before in journal.values():
        variable.value = before
    at_home = {id(variable) for variable, _ in homes}
    return len(block.steps), [each for each, _ in journal.values() if each.born < mark and id(each) not in at_home]


def _moved(flow: Flow, variable: Variable) -> _Home:
    """Assign IR bits to a variable, and set them to its value before the loop."""
    formulas = _formulas(variable)
    own = flow.builder.add_clbits(len(formulas))
    for place, formula in zip(own, formulas, strict=True):
        # In an enclosing loop, an earlier iteration may have set the bit.
        if formula != FALSE or flow.runtime_loops > 1:
            flow.builder.append(flow.conditions.guard, Write(place, formula))
    flow.conditions.write(variable, _at_home(variable, own))
    return variable, own


def _write_back(builder: Builder, homes: Sequence[_Home]) -> None:
    """Set the variables' bits to their values after an iteration, as if simultaneously."""
    left = {
        place: formula
        for variable, own in homes
        for place, formula in zip(own, _formulas(variable), strict=True)
        if formula != bit(place)
    }
    # Number of unset bits that depend on each bit.
    readers = dict.fromkeys(left, 0)
    for place, formula in left.items():
        for each in formula.bits & left.keys() - {place}:
            readers[each] += 1
    free = [place for place, number in readers.items() if not number]
    last = []
    while left:
        if free:
            place = free.pop()
            target, formula = place, left.pop(place)
        else:  # A cycle: all are still read, so a further bit holds the new value of one.
            place = next(iter(left))
            (target,), formula = builder.add_clbits(1), left.pop(place)
            last.append((place, bit(target)))
        builder.append(TRUE, Write(target, formula))
        for each in formula.bits & readers.keys() - {place}:
            readers[each] -= 1
            if not readers[each] and each in left:
                free.append(each)
    for place, formula in last:
        builder.append(TRUE, Write(place, formula))


def _at_home(variable: Variable, own: Sequence[int]) -> Held:
    """Return the value of a variable that these IR bits hold."""
    places = iter(own)

    def at_home(held: Held) -> Held:
        if isinstance(held, tuple):
            return tuple(at_home(each) for each in held)  # type: ignore[arg-type]
        old = _bits(variable, held)
        formulas = tuple(bit(next(places)) for _ in old.formulas)
        if variable.type.kind not in _WHOLE:
            return Bits(formulas, old.scalar)
        return word(formulas if variable.type.kind == "int" else (*formulas, FALSE))

    return at_home(variable.value)


def _formulas(variable: Variable) -> tuple[Formula, ...]:
    """Return all bits of a variable; arrays element by element."""

    def every(held: Held) -> Iterator[Formula]:
        if isinstance(held, tuple):
            for each in held:
                yield from every(each)  # type: ignore[arg-type]
        else:
            yield from _bits(variable, held).formulas

    return tuple(every(variable.value))


def _bits(variable: Variable, value: Value) -> Bits:
    """Return the value of a variable or array element as bits; a Boolean, known or not, is one bit."""
    kind = variable.type
    if kind.kind == "bool":
        return Bits((truth(value),), scalar=True)
    if kind.kind in _WHOLE:
        return as_bits(value, kind.width or INTEGER_BITS)
    if not isinstance(value, Bits):
        raise unsupported(
            f"a loop that ends by a measurement changes {variable.name!r}, a {kind.kind}: it may change bits, "
            "Booleans, integers, and arrays of these"
        )
    return value
