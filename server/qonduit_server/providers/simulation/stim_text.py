# SPDX-License-Identifier: Apache-2.0
"""Operations of the IR as text in Stim's language, which is parsed many times faster than operations are appended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

from qiskit.circuit import Instruction

from qonduit_server.errors import DeviceError
from qonduit_server.ir.clifford import clifford_gates
from qonduit_server.ir.noise import Channel

_GATES: Final = {
    "h": "H", "s": "S", "sdg": "S_DAG", "x": "X", "y": "Y", "z": "Z", "sx": "SQRT_X", "sxdg": "SQRT_X_DAG",
    "cx": "CX", "cy": "CY", "cz": "CZ", "swap": "SWAP",
}  # fmt: skip
#: Channels on up to this many qubits are one instruction; others are a chain of one for each Pauli string.
_CHANNEL_QUBITS: Final = 2


class StimText:
    """Collects instructions; adjacent ones with the same name become one.

    Args:
        device: for messages, "PROVIDER/device".
        lines: the first lines of constructs in the program, where they are known.
    """

    def __init__(self, device: str, lines: Mapping[str, int]) -> None:
        self._device = device
        self._lines = lines
        self._name = ""
        self._parts: list[str] = []

    def add(self, name: str, targets: str) -> None:
        """Add an instruction, with its arguments in parentheses as part of the name."""
        if name != self._name:
            self._parts.append("\n" + name)
            self._name = name
        self._parts.append(targets)

    def take(self) -> str:
        """Return the text so far, and begin a new one."""
        text = " ".join(self._parts)
        self._parts, self._name = [], ""
        return text

    def gate(self, operation: Instruction, places: Sequence[int]) -> None:
        """Add a Clifford gate.

        Raises:
            DeviceError: it is not one.
        """
        for name, targets in self.steps(operation, places):
            self.add(_GATES[name], targets)

    def steps(self, operation: Instruction, places: Sequence[int]) -> list[tuple[str, str]]:
        """Return the elementary gates that a Clifford gate consists of, with their targets; raises as `gate` does."""
        steps = clifford_gates(operation)
        if steps is None:
            line = self._lines.get(operation.name)
            where = f"on qubit{'s' if len(places) > 1 else ''} {', '.join(map(str, places))}"
            raise DeviceError(
                "UNSUPPORTED_CONSTRUCT",
                f"{self._device} runs Clifford circuits only, and {operation.name} {where}"
                f"{f' (line {line})' if line else ''} is not a Clifford gate: use a device that runs every circuit",
            )
        return [(name, " ".join([str(places[place]) for place in own])) for name, own in steps]

    def channel(self, channel: Channel, places: Sequence[int]) -> None:
        """Add a mixture of Pauli operators.

        Raises:
            DeviceError: it is another channel.
        """
        if channel.paulis is None:
            raise DeviceError(
                "UNSUPPORTED_NOISE",
                f"{self._device} runs mixtures of Pauli operators only, and the channel {channel.kind} is not one: "
                "use a device that simulates density matrices or trajectories",
            )
        qubits = len(places)
        # A Pauli string begins with the letter of the last qubit.
        targets = [str(place) for place in reversed(places)]
        _, *strings = ("".join(letters) for letters in product("IXYZ", repeat=qubits))
        total = max(1.0, sum(channel.paulis.get(label, 0.0) for label in strings))  # it may exceed 1 by rounding
        chances = {label: channel.paulis.get(label, 0.0) / total for label in strings}
        if qubits <= _CHANNEL_QUBITS:
            arguments = ",".join(map(repr, chances.values()))
            self.add(f"PAULI_CHANNEL_{qubits}({arguments})", " ".join(targets))
            return
        name, rest = "CORRELATED_ERROR", 1.0
        for label, chance in chances.items():
            if chance > 0:
                letters = [letter + target for letter, target in zip(label, targets, strict=True) if letter != "I"]
                self._name = ""  # each is an instruction of its own
                self.add(f"{name}({min(1.0, chance / rest)!r})", " ".join(letters))
                name, rest = "ELSE_CORRELATED_ERROR", max(rest - chance, chance * 1e-16)
        self._name = ""
