# SPDX-License-Identifier: Apache-2.0
"""Loops whose end depends on a measurement: the only ones that stay loops in the IR.

What such a loop writes lives in bits of the IR, set before it and after each round.
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

#: A variable that the loop changes, and the IR bits it lives in from then on.
_Home: TypeAlias = tuple[Variable, tuple[int, ...]]


def repeat(flow: Flow, condition: Callable[[], Formula], body: Callable[[], None]) -> None:
    """Run a loop while a condition holds: unrolled as long as that is known, then as a loop of the IR."""
    broken = flag()

    def holds() -> Formula:
        again = flag()
        flow.branch(negation(_bit(broken)), lambda: _set(flow, again, condition()))
        return _bit(again)

    steps = len(flow.builder.block.steps)
    while (known := holds()) == TRUE:
        flow.step()
        flow.round(broken, body)
        steps = len(flow.builder.block.steps)
    if known != FALSE:
        acts = len(flow.builder.block.steps) > steps
        _loop(flow, known, acts, holds, lambda: flow.round(broken, body, sure=True))


def _loop(flow: Flow, first: Formula, acts: bool, condition: Callable[[], Formula], body: Callable[[], None]) -> None:
    """Put a loop into the IR, which goes on while a condition holds.

    Condition and body are read more than once: what they stand for depends on what the loop changes.

    Args:
        flow: the circuit.
        first: what the condition is before the first round.
        acts: whether it took operations to find that out.
        condition: returns what it is, by the variables' present values.
        body: reads one round.
    """
    block = Block()
    line = flow.builder.line
    rounds, flow.rounds = flow.rounds, []
    flow.call_guards.append(None)
    flow.runtime_loops += 1
    try:
        homes: list[_Home] = []

        def move(action: Callable[[], None]) -> None:
            # What a round changes may depend on what the one before it changed.
            while changed := _tried(flow, action, homes)[1]:
                homes.extend(_moved(flow, variable) for variable in changed)

        move(body)
        if acts or any(_tried(flow, condition, homes)):
            # The loop of the IR only looks at bits between its rounds: one that is set before it and in each round.
            again = flag()
            _set(flow, again, first)

            def whole() -> None:
                body()
                _set(flow, again, condition())

            move(whole)
            holds, read = _bit(again), whole
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
    """Read one round of the loop into a block of its own."""
    builder = flow.builder
    outer, builder.block = builder.block, body
    try:
        with flow.conditions.under(TRUE):
            yield
    finally:
        builder.block = outer


def _tried(flow: Flow, action: Callable[[], object], homes: Sequence[_Home]) -> tuple[int, Sequence[Variable]]:
    """Read a part of a round that is thrown away.

    Returns:
        How many operations it has, and the variables that it changes and that have no home yet.
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
    """Give a variable bits of its own, and set them to what it holds before the loop."""
    formulas = _formulas(variable)
    own = flow.builder.add_clbits(len(formulas))
    for place, formula in zip(own, formulas, strict=True):
        # In a loop around this one, an earlier round has set the bit already.
        if formula != FALSE or flow.runtime_loops > 1:
            flow.builder.append(flow.conditions.guard, Write(place, formula))
    flow.conditions.write(variable, _at_home(variable, own))
    return variable, own


def _write_back(builder: Builder, homes: Sequence[_Home]) -> None:
    """Set the variables' bits to what a round made of them, as if all at once."""
    left = {
        place: formula
        for variable, own in homes
        for place, formula in zip(own, _formulas(variable), strict=True)
        if formula != bit(place)
    }
    # How many bits that are still to be set depend on this one.
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
        else:  # Each of them is still needed: another bit holds what one of them becomes.
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
    """Return what a variable holds whose bits are these of the IR."""
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
    """Return all bits of a variable; those of an array one element after the other."""

    def every(held: Held) -> Iterator[Formula]:
        if isinstance(held, tuple):
            for each in held:
                yield from every(each)  # type: ignore[arg-type]
        else:
            yield from _bits(variable, held).formulas

    return tuple(every(variable.value))


def _bits(variable: Variable, value: Value) -> Bits:
    """Return what a variable, or an element of its array, holds as bits; a Boolean is one, also if it is known."""
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
