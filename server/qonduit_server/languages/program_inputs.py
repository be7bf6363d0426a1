# SPDX-License-Identifier: Apache-2.0
"""Validation of a job's input values, and its errors, for every reader."""

from __future__ import annotations

import math
from collections.abc import Container

from qonduit_server.errors import ProgramError
from qonduit_server.languages.signatures import Inputs


def missing(name: str) -> ProgramError:
    """Return the error for an input without a value."""
    return ProgramError("MISSING_INPUT", f"the program needs a value for {name!r}: set it in job.inputs")


def unused(inputs: Inputs, known: Container[str]) -> tuple[str, ...]:
    """Return warnings about values that match none of the program's inputs `known`."""
    return tuple(f"input {name!r} is not one of the program's" for name in inputs if name not in known)


def number(name: str, given: object) -> float:
    """Return the value of a number input."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise mismatch(name, "a finite number", given)
    return given


def mismatch(name: str, expected: str, given: object) -> ProgramError:
    """Return the error for an input value of a wrong type."""
    shown = repr(given)
    shown = shown if len(shown) < 60 else shown[:60] + "..."
    return ProgramError("INVALID_INPUT", f"the input {name!r} must be {expected}, got {shown}")
