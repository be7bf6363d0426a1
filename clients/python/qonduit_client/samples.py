# SPDX-License-Identifier: Apache-2.0
"""The outcome of a SAMPLER job at one point: probabilities, and single shots in their order."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from qonduit_client.distribution import pip_install
from qonduit_client.errors import QonduitError
from qonduit_client.formatting import plural
from qonduit_client.result import Register, key_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_client.result import Result

_NUMBER_BYTES: Final = 8


class Sample:
    """The outcomes of one program at one point.

    Keys are those of `Result`: hexadecimal, one number per classical register, last declared register first.

    Attributes:
        result: the result as the server sent it.
    """

    def __init__(self, result: Result) -> None:
        if not is_sample(result):
            raise QonduitError(
                f"result {result.id} of job {result.job_id} has no quasi-distribution: only jobs of the type SAMPLER "
                "have one"
            )
        self.result = result
        self._message = result.message.quasi_distribution
        self._widths = [(register.size + 7) // 8 for register in result.registers]

    @property
    def job_id(self) -> int:
        """The id of the job."""
        return self.result.job_id

    @property
    def point(self) -> int | None:
        """The point of the parameter values, from 0; None without them."""
        return self.result.point

    @property
    def exact(self) -> bool:
        """Whether the probabilities are exact and not sampled."""
        return self._message.exact

    @property
    def shots(self) -> int:
        """The number of shots; 0 for exact probabilities."""
        return self.result.shots

    @property
    def partial(self) -> bool:
        """Whether the job ended before all of its shots ran."""
        return self.result.partial

    @property
    def registers(self) -> list[Register]:
        """The program's classical registers, in the order of the keys."""
        return self.result.registers

    @property
    def meta_data(self) -> dict[str, Any]:
        """SDK and version, seed, compile and run times, method."""
        return self.result.meta_data

    @cached_property
    def quasi_probabilities(self) -> dict[str, float]:
        """The probability of each outcome of all registers together, by key in ascending order."""
        found = self._message.quasi_probabilities
        if found or not self.result.message.HasField("buffer"):
            return _in_order(found)
        return dict(self._read())

    @cached_property
    def by_register(self) -> dict[str, dict[str, float]]:
        """The probability of each number of each register, by the register's name."""
        if self._message.by_register:
            return {each.register: _in_order(each.quasi_probabilities) for each in self._message.by_register}
        found: list[dict[str, float]] = [{} for _ in self.registers]
        for key, share in self.quasi_probabilities.items():
            for own, number in zip(found, key.split(), strict=True):
                own[number] = own.get(number, 0.0) + share
        return {register.name: _in_order(own) for register, own in zip(self.registers, found, strict=True)}

    @property
    def outcomes(self) -> NDArray[Any] | None:
        """The number of each register in each shot: (shots, registers), in the order of the shots and of `registers`.

        None without `per_shot`. The array has the smallest unsigned integers that hold all registers, and Python's
        integers for registers of more than 64 bits.

        Raises:
            ImportError: NumPy is not installed; `rows` needs no NumPy.
        """
        columns = self._columns()
        if columns is None:
            return None
        np = _numpy()
        shots, widths = len(columns[0]), self._widths
        if max(widths) > _NUMBER_BYTES:
            numbers = np.empty((shots, len(widths)), dtype=object)
            for place, row in enumerate(self.rows()):
                numbers[place] = row
            return numbers
        size = next(each for each in (1, 2, 4, 8) if each >= max(widths))
        if widths == [size]:
            return columns[0].view(f">u{size}").astype(f"u{size}", copy=False)  # without a copy of single bytes
        found = np.zeros((shots, len(widths), size), dtype=np.uint8)
        for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
            found[:, place, size - width :] = column
        return found.view(f">u{size}").reshape(shots, len(widths)).astype(f"u{size}", copy=False)

    @property
    def bits(self) -> dict[str, NDArray[np.uint8]] | None:
        """The bits of each shot by register: (shots, bits) of 0 and 1, column i is bit i; None without `per_shot`.

        Raises:
            ImportError: NumPy is not installed.
        """
        columns = self._columns()
        if columns is None:
            return None
        np = _numpy()
        return {
            register.name: np.unpackbits(column[:, ::-1], axis=1, bitorder="little", count=register.size)
            for register, column in zip(self.registers, columns, strict=True)
        }

    def packed_bits(self) -> dict[str, NDArray[np.uint8]]:
        """Return the bytes of each shot by register: (shots, bytes), the highest byte first; {} without `per_shot`.

        Raises:
            ImportError: NumPy is not installed.
        """
        columns = self._columns() or ()
        return {register.name: column for register, column in zip(self.registers, columns, strict=False)}

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Yield the numbers of the registers of each shot, in the order of the shots; none without `per_shot`."""
        packed = self._shots() or b""
        widths = self._widths
        row = sum(widths)
        if not row:
            return
        for at in range(0, len(packed), row):
            yield self._numbers(packed, at)

    def __repr__(self) -> str:
        """Return the number of outcomes, without a call to the server."""
        at = "" if self.point is None else f" at point {self.point}"
        how = "exact" if self.exact else plural(self.shots, "shot")
        number = len(self._message.quasi_probabilities)
        return f"<Sample of job {self.job_id}{at}: {f'{number} outcomes' if number else 'not read yet'}, {how}>"

    def _columns(self) -> list[NDArray[np.uint8]] | None:
        """Return views of the packed rows, one for each register; None if the job did not request shots."""
        packed = self._shots()
        if packed is None or not sum(self._widths):
            return None
        rows = _numpy().frombuffer(packed, dtype="u1").reshape(-1, sum(self._widths))
        ends = accumulate(self._widths)
        return [rows[:, end - width : end] for end, width in zip(ends, self._widths, strict=True)]

    def _shots(self) -> bytes | bytearray | None:
        """Return the packed rows of the shots; None if the job did not request them."""
        if self._message.outcomes:
            return self._message.outcomes
        if self.result.message.HasField("buffer") and not self._has_probabilities():
            return self.result.known_rows()
        return None

    def _has_probabilities(self) -> bool:
        """Return whether the rows of the buffer are probabilities, not shots."""
        columns = self.result.message.buffer.columns
        return bool(columns) and columns[-1].name == "probability" and len(columns) > len(self.registers)

    def _read(self) -> Iterator[tuple[str, float]]:
        """Yield the probabilities of a result that is too large for a message."""
        if self._has_probabilities():
            yield from self._probabilities()
            return
        row = sum(self._widths)
        packed = bytes(self._shots() or b"")
        # Rows are decoded once each; their bytes have the order of their numbers.
        counts = Counter(packed[at : at + row] for at in range(0, len(packed), row)) if row else Counter[bytes]()
        for each in sorted(counts):
            yield " ".join(map(hex, self._numbers(each))), counts[each] / self.shots

    def _probabilities(self) -> Iterator[tuple[str, float]]:
        """Yield the rows of a buffer of probabilities."""
        rows, row = self.result.known_rows(), sum(self._widths)
        for at in range(0, len(rows), row + _NUMBER_BYTES):
            yield " ".join(map(hex, self._numbers(rows, at))), struct.unpack_from(">d", rows, at + row)[0]

    def _numbers(self, packed: bytes | bytearray, at: int = 0) -> tuple[int, ...]:
        """Return the numbers of the registers of a row."""
        numbers = []
        for width in self._widths:
            numbers.append(int.from_bytes(packed[at : at + width]))
            at += width
        return tuple(numbers)


def is_sample(result: Result) -> bool:
    """Return whether a result has the distribution of a SAMPLER job."""
    return result.message.HasField("quasi_distribution")


def _in_order(shares: Mapping[str, float]) -> dict[str, float]:
    return {key: shares[key] for key in sorted(shares, key=key_order)}


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise ImportError(f"arrays of shots require NumPy, which is not installed: {pip_install('numpy')}") from None
    return np
