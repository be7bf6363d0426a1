# SPDX-License-Identifier: Apache-2.0
"""The result of a program, in the same form for all providers."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from google.protobuf.struct_pb2 import Value

from qonduit.v1 import result_pb2
from qonduit_client.buffer import Buffer, Source
from qonduit_client.distribution import pip_install
from qonduit_client.formatting import plural
from qonduit_client.message_table import cut

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

#: Maximum number of displayed characters of a key; a register of 1,000 bits has keys of 250.
_LONGEST_KEY: Final = 36
#: Doubles represent integers exactly up to this bound.
_EXACT: Final = 2**53


class Register(NamedTuple):
    """One classical register: its name in the program and its number of bits."""

    name: str
    size: int


class Result:
    """Counts and probabilities of one program at one point, with metadata of the run.

    Results of other job types have no counts: `estimates.estimate_of` and `samples.sample_of` read them.

    Keys are hexadecimal, one number per classical register, registers separated by a space, last declared register
    first ("0x3", "0x1 0x2"); bit i of a register's number is its classical bit i.

    A result that is too large for a message is read from the server on first access and then cached, so the client
    must still be open. `buffer` reads it row by row. Pickling reads it too.

    Attributes:
        message: the message as the server sent it.
        further: other results of the same program, such as its statevector.
    """

    def __init__(self, message: result_pb2.Result, source: Source | None = None) -> None:
        self.message = message
        self.further: list[Result] = []
        self._source = source
        self._counts: dict[str, int] | None = None
        self._statevector: Sequence[complex] | None = None
        self._rows: bytearray | None = None

    @property
    def id(self) -> int:
        """The result's id."""
        return self.message.id

    @property
    def job_id(self) -> int:
        """The id of the job."""
        return self.message.job_id

    @property
    def program_id(self) -> int:
        """The id of the program."""
        return self.message.program_id

    @property
    def shots(self) -> int:
        """The number of shots."""
        return self.message.shots

    @property
    def point(self) -> int | None:
        """The point of the job's parameter values, from 0; None without them."""
        return self.message.point if self.message.HasField("point") else None

    @property
    def partial(self) -> bool:
        """Whether the job ended before all of its shots ran: by its stop condition or a cancellation."""
        return self.message.partial

    @property
    def registers(self) -> list[Register]:
        """The program's classical registers, in the order of the keys."""
        return [Register(register.name, register.size) for register in self.message.registers]

    @property
    def buffer(self) -> Buffer | None:
        """The rows of a result that is too large for a message; None for other results."""
        return Buffer(self.message.buffer, self._source) if self.message.HasField("buffer") else None

    @property
    def counts(self) -> dict[str, int]:
        """The count of each outcome, by key in ascending order; the sum is `shots`."""
        return dict(self._known_counts())

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each outcome: its count divided by `shots`."""
        if self.message.HasField("buffer"):
            return {key: count / self.shots for key, count in self._known_counts().items()}
        found = self.message.counts_and_probabilities.probabilities
        return {key: found[key] for key in sorted(found, key=key_order)}

    @property
    def statevector(self) -> NDArray[np.complex128] | None:
        """The exact state before the final measurements; None if the job did not request it.

        A read-only array of 2^n complex128 amplitudes: `copy()` it to change it. Bit i of an
        amplitude's index is qubit i, in the order in which the program declares its qubits.

        Raises:
            ImportError: NumPy is not installed; `amplitudes` needs no NumPy.
        """
        state = self.amplitudes
        if isinstance(state, list):
            raise ImportError(f"statevector requires NumPy, which is not installed: {pip_install('numpy')}")
        return state

    @property
    def amplitudes(self) -> Sequence[complex] | None:
        """The same as `statevector`, but a list of complex numbers if NumPy is not installed."""
        for each in (self, *self.further):
            if each.message.HasField("statevector"):
                return each._known_statevector()
        return None

    @property
    def compiled_circuit(self) -> str | None:
        """The circuit that the device ran, as OpenQASM 3; None if the job did not request it.

        It is empty if OpenQASM 3 cannot express the circuit; the metadata of the result in `further` has the reason.
        """
        for each in (self, *self.further):
            if each.message.HasField("compiled_circuit"):
                buffer = each.buffer
                return each.message.compiled_circuit.text if buffer is None else buffer.checked_bytes().decode()
        return None

    def load(self) -> Result:
        """Read a large result now instead of on first access; return this result."""
        for each in (self, *self.further):
            if each.message.HasField("buffer"):
                kind = each.message.WhichOneof("result_dict")
                if kind == "statevector":
                    each._known_statevector()
                elif kind == "counts_and_probabilities":
                    each._known_counts()
                else:
                    each.known_rows()
        return self

    def known_rows(self) -> bytearray:
        """Return the bytes of a large result, read on first access; empty for other results."""
        if self._rows is None:
            self._rows = bytearray() if (buffer := self.buffer) is None else buffer.checked_bytes()
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.load().__dict__, "_source": None}

    def plot(
        self, ax: Axes | None = None, *, top: int = 32, sort: Literal["key", "count"] = "key", bits: bool = False
    ) -> Axes:
        """Draw the relative frequency of each outcome as a bar with its count; requires matplotlib.

        Args:
            ax: the axes; by default those of a new figure.
            top: the maximum number of outcomes; a last bar sums up the less frequent ones. 0 draws all.
            sort: by the numbers in the keys, or the most frequent first ("count").
            bits: label outcomes with bits instead of hexadecimal numbers.

        Raises:
            ImportError: matplotlib is not installed; the extra "plot" installs it.
        """
        from qonduit_client.plot import plot_counts

        counts = self.bitstrings if bits else self._known_counts()
        return plot_counts(counts, ax, top=top, sort=sort, names=[register.name for register in self.registers])

    def _known_counts(self) -> Mapping[str, int]:
        if self._counts is None:
            found = self.message.counts_and_probabilities.counts
            if (buffer := self.buffer) is None:
                self._counts = {key: found[key] for key in sorted(found, key=key_order)}
            elif self.message.HasField("counts_and_probabilities"):
                # Rows are in the order of the keys.
                self._counts = {" ".join(map(hex, numbers)): count for *numbers, count in buffer.rows()}
            else:
                self._counts = {}
        return self._counts

    def _known_statevector(self) -> Sequence[complex]:
        if self._statevector is None:
            self._statevector = _amplitudes(self.message.statevector, self.buffer)
        return self._statevector

    @property
    def bitstrings(self) -> dict[str, int]:
        """The counts by bits instead of hexadecimal numbers: "11" for "0x3" of a register of two bits."""
        registers = self.registers
        return {as_bits(key, registers): count for key, count in self.counts.items()}

    @property
    def meta_data(self) -> dict[str, Any]:
        """SDK and version, seed, compile and run times, method, the vendor's id. Integral numbers are ints."""
        return {key: _plain(value) for key, value in self.message.meta_data.fields.items()}

    def __repr__(self) -> str:
        begin = f"<Result {self.id} of job {self.job_id}: "
        if about := self._primitive():
            return f"{begin}{about}>"
        if self.message.HasField("statevector"):
            return f"{begin}statevector of {plural(self.message.statevector.num_qubits, 'qubit')}>"
        if self._counts is None and self.message.HasField("buffer"):  # do not read it for display
            return f"{begin}{self.shots} shots, {self.message.buffer.rows} outcomes, not read yet>"
        counts = self._known_counts()
        shown = ", ".join(f"{cut(key, _LONGEST_KEY)}: {counts[key]}" for key in most_frequent(counts, 4))
        shown += ", ..." if len(counts) > 4 else ""
        state = ", statevector" if any(each.message.HasField("statevector") for each in self.further) else ""
        return f"{begin}{self.shots} shots, {len(counts)} outcomes {{{shown}}}{state}>"

    def _primitive(self) -> str:
        """Return a description of a result of an estimator or a sampler; empty for other results."""
        message = self.message
        match message.WhichOneof("result_dict"):
            case "expectation_values":
                found = message.expectation_values
                observables = plural(found.num_observables, "observable")
                return f"estimates of {observables} at {plural(found.num_points, 'point')}"
            case "term_values":
                return f"values of the terms of {plural(len(message.term_values.num_terms), 'observable')}"
            case "quasi_distribution":
                number = len(message.quasi_distribution.quasi_probabilities)
                return f"probabilities of {plural(number, 'outcome')}" if number else "probabilities, not read yet"
        return ""

    def _repr_html_(self) -> str:
        if self.message.HasField("statevector") or self._primitive():
            return escape(repr(self))
        counts = self._known_counts()
        most = most_frequent(counts, 32)
        largest = max(counts.values(), default=1)
        rows = "".join(
            f"<tr><td><code>{escape(cut(key, _LONGEST_KEY))}</code></td><td style='text-align:right'>{counts[key]}</td>"
            f"<td style='text-align:left;min-width:12em'><div style='background:#4c78a8;height:.8em;"
            f"width:{100 * counts[key] / largest:.1f}%'></div></td></tr>"
            for key in sorted(most, key=key_order)
        )
        registers = ", ".join(f"{register.name}[{register.size}]" for register in self.registers)
        names = escape(cut(registers, 4 * _LONGEST_KEY))
        others = f" (the {len(most)} most frequent)" if len(counts) > len(most) else ""
        return (
            f"<table><caption>Job {self.job_id}: {self.shots} shots, {len(counts)} outcomes{others}</caption>"
            f"<thead><tr><th>{names or 'outcome'}</th><th>count</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
        )


def _amplitudes(state: result_pb2.Statevector, buffer: Buffer | None) -> Sequence[complex]:
    """Return the amplitudes as a NumPy array, or as a list if NumPy is not installed."""
    try:
        import numpy as np
    except ImportError:
        pairs = zip(state.real, state.imaginary, strict=True) if buffer is None else buffer.pairs()
        return [complex(real, imaginary) for real, imaginary in pairs]
    if buffer is None:
        array = np.array(state.real, dtype=np.complex128)
        array.imag = state.imaginary
    else:
        array = np.frombuffer(buffer.checked_bytes(), dtype=">c16").astype(np.complex128)
    array.flags.writeable = False
    return array  # type: ignore[no-any-return,unused-ignore]


def _plain(value: Value) -> Any:
    """Return the Python value. Numbers are sent as doubles: integral ones become ints."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    if kind == "struct_value":
        return {key: _plain(each) for key, each in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(each) for each in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def most_frequent(counts: Mapping[str, float], number: int) -> list[str]:
    """Return the keys of the most frequent outcomes, in descending order."""
    return heapq.nsmallest(number, counts, key=lambda key: (-counts[key], key_order(key)))


def key_order(key: str) -> tuple[int, ...]:
    """Return the sort key of an outcome: its numbers."""
    return tuple(int(number, 16) for number in key.split())


def as_bits(key: str, registers: list[Register]) -> str:
    """Return a key as bits, padded to the width of each register, highest bit first; "" without registers."""
    numbers = key_order(key)
    return " ".join(f"{number:0{register.size}b}" for number, register in zip(numbers, registers, strict=False))
