# SPDX-License-Identifier: Apache-2.0
"""What readers say about the inputs of programs that are not given, and about what is given and not needed."""

from __future__ import annotations

from collections.abc import Container

from qonduit_server.errors import ProgramError
from qonduit_server.languages.edges import Inputs


def missing(name: str) -> ProgramError:
    """An input that the program needs and the job does not give."""
    return ProgramError("MISSING_INPUT", f"the program needs a value for {name!r}: give it in job.inputs")


def unused(inputs: Inputs, known: Container[str]) -> tuple[str, ...]:
    """Warnings about values for inputs that the program, whose inputs are `known`, does not have."""
    return tuple(f"input {name!r} is not one of the program's" for name in inputs if name not in known)
