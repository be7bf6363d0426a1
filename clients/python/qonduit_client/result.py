# SPDX-License-Identifier: Apache-2.0
"""What a program gave, in the one form it has on every provider."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict

from qonduit.v1 import result_pb2


class Register(NamedTuple):
    """One classical register: its name in the program and its number of bits."""

    name: str
    size: int


class Result:
    """Counts and probabilities of one program, and how they came about.

    Keys are hexadecimal, one number a classical register, registers separated by a space, last declared register
    first ("0x3", "0x1 0x2"); bit i of a register's number is its classical bit i.

    Attributes:
        message: the message as the server sent it.
    """

    def __init__(self, message: result_pb2.Result) -> None:
        self.message = message

    @property
    def id(self) -> int:
        """The result's id."""
        return self.message.id

    @property
    def job_id(self) -> int:
        """The job that ran."""
        return self.message.job_id

    @property
    def program_id(self) -> int:
        """The program that ran."""
        return self.message.program_id

    @property
    def shots(self) -> int:
        """How often the circuit was run."""
        return self.message.shots

    @property
    def registers(self) -> list[Register]:
        """The program's classical registers, in the order in which the keys list them."""
        return [Register(register.name, register.size) for register in self.message.registers]

    @property
    def counts(self) -> dict[str, int]:
        """How often each outcome was seen, by key in rising order; the sum is `shots`."""
        found = self.message.counts_and_probabilities.counts
        return {key: found[key] for key in sorted(found, key=key_order)}

    @property
    def probabilities(self) -> dict[str, float]:
        """counts / shots."""
        found = self.message.counts_and_probabilities.probabilities
        return {key: found[key] for key in sorted(found, key=key_order)}

    @property
    def bitstrings(self) -> dict[str, int]:
        """The counts by bits instead of hexadecimal numbers: "11" for "0x3" of a register of two bits."""
        registers = self.registers
        return {as_bits(key, registers): count for key, count in self.counts.items()}

    @property
    def meta_data(self) -> dict[str, Any]:
        """SDK and version, seed, compile and run times, method, the vendor's own id."""
        return MessageToDict(self.message.meta_data)

    def __repr__(self) -> str:
        counts = self.counts
        most = sorted(counts, key=lambda key: (-counts[key], key_order(key)))
        shown = ", ".join(f"{key}: {counts[key]}" for key in most[:4]) + (", ..." if len(most) > 4 else "")
        return f"<Result {self.id} of job {self.job_id}: {self.shots} shots, {len(counts)} outcomes {{{shown}}}>"

    def _repr_html_(self) -> str:
        counts = self.counts
        most = sorted(counts, key=lambda key: (-counts[key], key_order(key)))[:32]
        largest = max(counts.values(), default=1)
        rows = "".join(
            f"<tr><td><code>{escape(key)}</code></td><td style='text-align:right'>{counts[key]}</td>"
            f"<td style='text-align:left;min-width:12em'><div style='background:#4c78a8;height:.8em;"
            f"width:{100 * counts[key] / largest:.1f}%'></div></td></tr>"
            for key in sorted(most, key=key_order)
        )
        names = ", ".join(f"{escape(register.name)}[{register.size}]" for register in self.registers)
        others = f" (the {len(most)} most frequent)" if len(counts) > len(most) else ""
        return (
            f"<table><caption>Job {self.job_id}: {self.shots} shots, {len(counts)} outcomes{others}</caption>"
            f"<thead><tr><th>{names or 'outcome'}</th><th>count</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
        )


def key_order(key: str) -> tuple[int, ...]:
    """Sorts keys as the numbers they are."""
    return tuple(int(number, 16) for number in key.split())


def as_bits(key: str, registers: list[Register]) -> str:
    """Writes a key as bits, each register as wide as it is, highest bit first; "" when there is no register."""
    numbers = key_order(key)
    return " ".join(f"{number:0{register.size}b}" for number, register in zip(numbers, registers, strict=False))
