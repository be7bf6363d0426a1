# SPDX-License-Identifier: Apache-2.0
"""A translated program."""

from __future__ import annotations

from qonduit.v1.program_service_pb2 import TranslateProgramResponse
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.result import Register


class Translation:
    """A program in the requested language.

    Attributes:
        message: the message as the server sent it.
    """

    def __init__(self, message: TranslateProgramResponse) -> None:
        self.message = message

    def __repr__(self) -> str:
        return f"<Translation to {self.language}, {len(self.source)} {'bytes' if self.binary else 'characters'}>"

    @property
    def binary(self) -> bool:
        """Whether the program is bytes instead of text."""
        return bool(self.message.program.quantum_circuit_binary)

    @property
    def source(self) -> str | bytes:
        """The program: text or, for binary languages, bytes."""
        return self.message.program.quantum_circuit_binary or self.message.program.quantum_circuit

    @property
    def language(self) -> str:
        """The language of the program: "QASM2", "QASM3" ..."""
        return AssemblerLanguage.Name(self.message.program.assembler_language).removeprefix("ASSEMBLER_LANGUAGE_")

    @property
    def warnings(self) -> list[str]:
        """Changed or lost parts of the program."""
        return list(self.message.warnings)

    @property
    def registers(self) -> list[Register]:
        """The program's classical registers, in the order of result keys (last declared first)."""
        return [Register(register.name, register.size) for register in self.message.registers]
