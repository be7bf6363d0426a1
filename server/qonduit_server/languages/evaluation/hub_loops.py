# SPDX-License-Identifier: Apache-2.0
"""Loops whose end depends on a measurement: the only ones that stay loops in the hub.

What such a loop writes lives in bits of the hub, set before it and after each round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from qonduit_server.hub.building import Block, Builder, Loop, Write
from qonduit_server.hub.formula import FALSE, TRUE, Formula, bit, conjunction, negation
from qonduit_server.languages.evaluation.flow import Flow, flag
from qonduit_server.languages.evaluation.names import Variable
from qonduit_server.languages.evaluation.values import Bits, Type, Value, as_bits, coerce, truth, unsupported

#: An integer that such a loop changes may have this many bits: a round computes with all of its values.
MAX_COUNTER_BITS: Final = 8
_WHOLE: Final = ("int", "uint")

#: A variable that the loop changes, and the hub bits it lives in from then on.
_Home: TypeAlias = tuple[Variable, tuple[int, ...]]


def repeat(flow: Flow, condition: Callable[[], Formula], body: Callable[[], None]) -> None:
    """A loop while a condition holds: unrolled as long as that is known, a loop of the hub from where it is not."""
    broken = flag()

    def holds() -> Formula:
        whole = negation(truth(broken.value))  # type: ignore[arg-type]
        if whole == FALSE:
            return FALSE
        steps = len(flow.builder.block.steps)
        found = conjunction((whole, condition()))
        # The loop of the hub looks at bits, and does nothing more between its rounds.
        if len(flow.builder.block.steps) > steps and (whole != TRUE or found not in (TRUE, FALSE)):
            raise unsupported(
                "a loop that ends by a measurement within its condition: call the subroutine before the loop and at "
                "the end of its body, and look at a bit"
            )
        return found

    while (known := holds()) == TRUE:
        flow.step()
        flow.round(broken, body)
    if known != FALSE:
        _loop(flow, holds, lambda: flow.round(broken, body, sure=True))


def _loop(flow: Flow, condition: Callable[[], Formula], body: Callable[[], None]) -> None:
    """Put a loop into the hub, which goes on while a condition holds.

    Both are read more than once: what they stand for depends on what the loop changes.
    """
    block = Block()
    line = flow.builder.line
    rounds, flow.rounds = flow.rounds, []
    flow.call_guards.append(None)
    flow.hub_loops += 1
    try:
        homes: list[_Home] = []
        # What a round changes may depend on what the one before it changed.
        while changed := _changed(flow, body, {id(variable) for variable, _ in homes}):
            homes.extend(_moved(flow, variable) for variable in changed)
        holds = condition()
        with _round(flow, block):
            body()
            _write_back(flow.builder, homes)
        for variable, own in homes:
            variable.value = _at_home(variable, own)
    finally:
        flow.rounds = rounds
        flow.call_guards.pop()
        flow.hub_loops -= 1
    flow.builder.line = line
    flow.builder.append(flow.conditions.guard, Loop(holds, block))


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


def _changed(flow: Flow, body: Callable[[], None], known: set[int]) -> Sequence[Variable]:
    """The variables, beside the known ones, that a round changes, found by reading one that is thrown away."""
    mark = Variable("", Type("bit"), False).born
    with _round(flow, Block()), flow.conditions.recorded() as journal:
        body()
    for variable, before in journal.values():
        variable.value = before
    return [each for each, _ in journal.values() if each.born < mark and id(each) not in known]


def _moved(flow: Flow, variable: Variable) -> _Home:
    """Give a variable bits of its own, and set them to what it holds before the loop."""
    value = _bits(variable)
    own = flow.builder.add_clbits(len(value.formulas))
    for place, formula in zip(own, value.formulas, strict=True):
        # In a loop around this one, an earlier round has set the bit already.
        if formula != FALSE or flow.hub_loops > 1:
            flow.builder.append(flow.conditions.guard, Write(place, formula))
    flow.conditions.write(variable, _at_home(variable, own))
    return variable, own


def _write_back(builder: Builder, homes: Sequence[_Home]) -> None:
    """Set the variables' bits to what a round made of them, as if all at once."""
    writes = []
    for variable, own in homes:
        value = _bits(variable)
        for place, formula in zip(own, value.formulas, strict=True):
            if formula != bit(place):
                writes.append((place, formula))
    targets = {place for place, _ in writes}
    held = {place: builder.add_clbits(1)[0] for place, formula in writes if formula.bits & targets - {place}}
    for place, formula in writes:
        if place in held:
            builder.append(TRUE, Write(held[place], formula))
    for place, formula in writes:
        builder.append(TRUE, Write(place, bit(held[place]) if place in held else formula))


def _at_home(variable: Variable, own: Sequence[int]) -> Value:
    bits = Bits(tuple(bit(place) for place in own), _bits(variable).scalar)
    return coerce(variable.type, bits) if variable.type.kind in _WHOLE else bits


def _bits(variable: Variable) -> Bits:
    """What a variable holds: bits; a Boolean is one, also where its value is known, and a small integer is some."""
    value, kind = variable.value, variable.type
    if kind.kind == "bool" and not isinstance(value, tuple):
        return Bits((truth(value),), scalar=True)
    if kind.kind in _WHOLE and 0 < kind.width <= MAX_COUNTER_BITS and not isinstance(value, tuple):
        return as_bits(value, kind.width)
    if not isinstance(value, Bits):
        raise unsupported(
            f"a loop that ends by a measurement changes {variable.name!r}: it may change bits, and integers that are "
            f"declared with at most {MAX_COUNTER_BITS} bits, as in uint[{MAX_COUNTER_BITS}]"
        )
    return value
