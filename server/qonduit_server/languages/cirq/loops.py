# SPDX-License-Identifier: Apache-2.0
"""Cirq's loops (`repeat_until`) as IR loops, and the records of all their iterations.

A register of a key holds its last measurement. Cirq records every iteration. A tag of the loop, "qonduit.records=N",
adds the registers of all records: `KEY#records`, a stack of which a measurement shifts all places by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qonduit_server.ir.builder import Block, Builder, Loop, Write
from qonduit_server.ir.circuit import ClassicalRegister
from qonduit_server.ir.formula import TRUE, Formula, bit, negation
from qonduit_server.languages.cirq.classical_controls import Record, Records
from qonduit_server.languages.json_text import Node, sequence, unsupported, wrong

#: The maximum number of records that a tag asks for.
MAX_RECORDS: Final = 4096
_TAG: Final = "qonduit.records="
_REGISTER: Final = "#records"


@dataclass(frozen=True)
class Stack:
    """The latest records of a key, the last one first.

    Attributes:
        used: for each place the bit that is 1 if it has a record, and a further one that is 1 if there are more records
            than places.
        places: the bits of each record.
    """

    used: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]

    def push(self, builder: Builder, record: Record) -> None:
        """Append the operations that add a record."""
        for place in range(len(self.places), 0, -1):
            builder.append(TRUE, Write(self.used[place], bit(self.used[place - 1])))
        builder.append(TRUE, Write(self.used[0], TRUE))
        for place in range(len(self.places) - 1, 0, -1):
            _write(builder, self.places[place], tuple(map(bit, self.places[place - 1])))
        _write(builder, self.places[0], record)

    def register(self, key: str) -> ClassicalRegister:
        """Return the register: for each place, whether it has a record, and the record; then whether there are more."""
        pairs = zip(self.used, self.places, strict=False)
        return ClassicalRegister(
            key + _REGISTER, (*(each for used, own in pairs for each in (used, *own)), self.used[-1])
        )


class Loops:
    """The loops of a program.

    Args:
        builder: collects the operations.
        records: of all keys.
    """

    def __init__(self, builder: Builder, records: Records) -> None:
        self._builder = builder
        self._records = records
        #: The stacks of keys whose records are all kept.
        self._stacks: dict[str, Stack] = {}

    def push(self, key: str) -> None:
        """Add the last record of a key to its stack, if it has one."""
        if key in self._stacks:
            self._stacks[key].push(self._builder, self._records.of[key][-1])

    def registers(self) -> tuple[ClassicalRegister, ...]:
        """Return the registers of the stacks."""
        for key in self._stacks:
            if key + _REGISTER in self._records.sizes:
                raise wrong(f"the key {key + _REGISTER!r} is the name of the register with the records of {key!r}")
        return tuple(stack.register(key) for key, stack in self._stacks.items())

    def repeat(self, iteration: Callable[[], Formula], places: int) -> None:
        """Add a loop that repeats until a condition holds, at least once.

        Args:
            iteration: reads the operations of one iteration and returns the condition.
            places: the number of records to keep of each key that the loop measures; 0 within another loop, whose
                number counts.

        Raises:
            ProgramError: the condition does not depend on measurements of the loop, or the program is too large.
        """
        builder, records = self._builder, self._records
        outer, clbits, before = builder.block, builder.clbits, records.copy()
        # Read one iteration and discard it, to find the keys that an iteration measures.
        builder.block = Block()
        iteration()
        changed = [key for key, each in records.of.items() if len(each) != len(before.of.get(key, ()))]
        builder.block, builder.clbits = outer, clbits
        sizes = {key: records.sizes[key] for key in changed}
        records.restore(before)
        for key in changed if places else ():
            if key not in self._stacks:
                self._stacks[key] = self._stack(sizes[key], places)
                for record in records.of.get(key, ()):
                    self._stacks[key].push(builder, record)
        records.uncounted.update(changed)
        homes = {key: builder.add_clbits(records.sizes[key]) for key in changed if key in records.of}
        for key, own in homes.items():
            _write(builder, own, records.of[key][-1])
            records.of[key].append(tuple(map(bit, own)))
        (go,) = builder.add_clbits(1)
        builder.append(TRUE, Write(go, TRUE))
        builder.block = Block()
        done = iteration()
        fresh = frozenset[int]().union(*(each.bits for key in changed for each in records.of[key][-1]))
        if done != TRUE and not done.bits & fresh:
            raise wrong("a loop never ends: its condition does not depend on its measurements")
        for key, own in homes.items():
            _write(builder, own, records.of[key][-1])
            records.of[key].append(tuple(map(bit, own)))
        builder.append(TRUE, Write(go, negation(done)))
        body, builder.block = builder.block, outer
        builder.append(TRUE, Loop(bit(go), body))

    def _stack(self, size: int, places: int) -> Stack:
        add = self._builder.add_clbits
        return Stack(add(places + 1), tuple(add(size) for _ in range(places)))


def places_of(fields: Node, looping: bool) -> int:
    """Return the number of records that the tags of an operation ask for; 0 without such a tag.

    Args:
        fields: of the TaggedOperation.
        looping: whether it is within a loop that has no such tag.

    Raises:
        ProgramError: the number is invalid, or an enclosing loop has no tag.
    """
    tags = [each for each in sequence(fields.get("tags") or [], "tags") if isinstance(each, str)]
    numbers = [each.removeprefix(_TAG) for each in tags if each.startswith(_TAG)]
    if not numbers:
        return 0
    number = numbers[-1]
    if not (number.isascii() and number.isdecimal() and len(number) < 9 and 1 <= int(number) <= MAX_RECORDS):
        raise wrong(f"the tag {_TAG!r} needs a number from 1 to {MAX_RECORDS}")
    if looping:
        raise unsupported(f"a tag {_TAG!r} within a loop without one: tag the outermost loop")
    return int(number)


def _write(builder: Builder, clbits: tuple[int, ...], record: Record) -> None:
    for clbit, formula in zip(clbits, record, strict=True):
        builder.append(TRUE, Write(clbit, formula))
