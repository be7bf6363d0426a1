# SPDX-License-Identifier: Apache-2.0
"""The register layout: maps IR bits to register bits of a language, and chooses register names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qonduit_server.errors import ProgramError
from qonduit_server.ir.builder import Write
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.formula import FALSE, Formula, bit
from qonduit_server.ir.visitor import BarrierStep, DelayStep, MeasureStep, Plain, bits_read, bits_written, every

#: A bit of a register: the register's number, and the bit's index.
Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """The location of the IR's classical bits.

    Attributes:
        homes: IR bits that are bits of registers; several may share a bit, one after the other.
        scratch: IR bits outside of registers that are read, numbered from 0.
        computed: bits of registers to be set at the end, because no single IR bit holds them.
    """

    homes: Mapping[int, Place]
    scratch: Mapping[int, int]
    computed: tuple[tuple[Place, Formula], ...]

    @property
    def plain(self) -> bool:
        """Whether the registers suffice for all bits."""
        return not self.scratch and not self.computed


def lay_out(circuit: Circuit, steps: Sequence[Plain], keep_unread: bool = False) -> Layout:
    """Assign locations to the IR's bits.

    Args:
        keep_unread: whether written bits that are never read need a location too.
    """
    homes: dict[int, Place] = {}
    computed: list[tuple[Place, Formula]] = []
    for number, register in enumerate(circuit.registers):
        for place, entry in enumerate(register.bits):
            formula = bit(entry) if isinstance(entry, int) else entry
            if formula.kind == "bit" and formula.number not in homes:
                homes[formula.number] = (number, place)
            elif formula != FALSE:
                computed.append(((number, place), formula))
    shown = frozenset[int]().union(*(formula.bits for _, formula in computed))
    needed = bits_read(steps) | shown
    if keep_unread:
        needed |= bits_written(steps)
    guests = _guests(steps, needed - homes.keys() - shown, homes)
    homes |= {clbit: homes[host] for clbit, host in guests.items()}
    scratch = {clbit: number for number, clbit in enumerate(sorted(needed - homes.keys()))}
    return Layout(homes, scratch, tuple(computed))


def _guests(steps: Sequence[Plain], wanted: Collection[int], homes: Collection[int]) -> dict[int, int]:
    """Return bits that may share a register's bit before its final value; readers distinguish overwritten bits.

    Returns:
        For each such bit, the register's bit.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    #: Bits that are always written before they are read.
    set_first: set[int] = set()
    for place, step in enumerate(steps):
        read, written = bits_read((step,)), bits_written((step,))
        for clbit in read | written:
            if clbit not in first and clbit not in read and isinstance(step, MeasureStep | Write):
                set_first.add(clbit)
            first.setdefault(clbit, place)
            last[clbit] = place
    hosts = sorted((host for host in homes if host in set_first), key=lambda host: first[host])
    free_from = dict.fromkeys(hosts, -1)
    guests: dict[int, int] = {}
    for guest in sorted((each for each in wanted if each in first), key=lambda each: first[each]):
        for host in hosts:
            # A bit that is read before it is written must be 0.
            ready = free_from[host] < first[guest] and (guest in set_first or free_from[host] < 0)
            if ready and last[guest] < first[host]:
                guests[guest] = host
                free_from[host] = last[guest]
                break
    return guests


def identifiers(
    names: Sequence[str], pattern: re.Pattern[str], reserved: Collection[str], language: str
) -> tuple[list[str], list[str]]:
    """Return distinct valid names of a language, unchanged where possible.

    Args:
        names: the original names.
        pattern: the pattern of a whole name; it must match a letter followed by letters, digits and underscores.
        reserved: reserved words.

    Returns:
        The names, and warnings about changed ones.
    """
    taken = {name for name in names if pattern.fullmatch(name) and name not in reserved} | set(reserved)
    given: list[str] = []
    warnings = []
    for place, name in enumerate(names):
        new = name
        if not pattern.fullmatch(name) or name in reserved or name in names[:place]:
            plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
            fits = pattern.fullmatch(plain) and plain not in reserved
            stem = new = plain if fits else f"c_{plain}".rstrip("_")
            count = 1
            while new in taken:
                count += 1
                new = f"{stem}_{count}"
            taken.add(new)
            warnings.append(f"the register {name!r} is called {new!r}, as {language} cannot call it that")
        given.append(new)
    return given, warnings


def free_name(name: str, taken: Collection[str]) -> str:
    """Return an unused name."""
    while name in taken:
        name += "_"
    return name


def check_sizes(circuit: Circuit, language: str) -> None:
    """Reject registers without bits."""
    for register in circuit.registers:
        if not register.bits:
            raise refuse(language, f"register without bits, as {register.name!r} is", "QISKIT")


def refuse(language: str, what: str, able: str) -> ProgramError:
    """Return the error for a construct that a language lacks; it names one that has it."""
    return ProgramError("UNSUPPORTED_CONSTRUCT", f"{language} has no {what}; {able} has: translate to that")


def dropped(steps: Sequence[Plain], kinds: tuple[type, ...], language: str) -> list[str]:
    """Return warnings about omitted steps, which do not affect measurements."""
    names = {BarrierStep: "barriers", DelayStep: "delays"}
    found = {type(step) for step in every(steps)}
    return [f"{names[kind]} are left out: {language} has none" for kind in kinds if kind in found]
