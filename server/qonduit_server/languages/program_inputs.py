# SPDX-License-Identifier: Apache-2.0
"""What readers ask of the values that jobs give for the inputs of programs, and what they say about wrong ones."""

from __future__ import annotations

import math
from collections.abc import Container

from qonduit_server.errors import ProgramError
from qonduit_server.languages.signatures import Inputs


def missing(name: str) -> ProgramError:
    """Return the error of an input that the program needs and the job does not give."""
    return ProgramError("MISSING_INPUT", f"the program needs a value for {name!r}: give it in job.inputs")


def unused(inputs: Inputs, known: Container[str]) -> tuple[str, ...]:
    """Warnings about values for inputs that the program, whose inputs are `known`, does not have."""
    return tuple(f"input {name!r} is not one of the program's" for name in inputs if name not in known)


def number(name: str, given: object) -> float:
    """Return what is given for an input that is a number."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise mismatch(name, "a finite number", given)
    return given


def mismatch(name: str, expected: str, given: object) -> ProgramError:
    """Return the error of an input that is given a value of another kind."""
    shown = repr(given)
    shown = shown if len(shown) < 60 else shown[:60] + "..."
    return ProgramError("INVALID_INPUT", f"the input {name!r} is {expected}; the job gives {shown}")
