# SPDX-License-Identifier: Apache-2.0
"""What the primitives are made with: where they run, and their options, in any of the ways people give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

import numpy as np

from qonduit_client.qiskit.backend import QonduitBackend

Chosen = TypeVar("Chosen")


def backend_of(mode: QonduitBackend | str | None, backend: QonduitBackend | str | None) -> QonduitBackend:
    """Return the backend that was given under either name; without one, the default device.

    Raises:
        TypeError: two were given, or something else.
        QiskitBackendNotFoundError: there is no device of that name.
    """
    if mode is not None and backend is not None:
        raise TypeError("give the backend once: as the first argument or as backend=")
    given = backend if mode is None else mode
    if given is None or isinstance(given, str):
        return QonduitBackend() if given is None else QonduitBackend(given)
    if not isinstance(given, QonduitBackend):
        raise TypeError(
            f"the primitives of qonduit_client run on a QonduitBackend, not on {type(given).__name__}: "
            "QonduitProvider().get_backend(name) gives one"
        )
    return given


def options_of(kind: Callable[..., Chosen], options: Any, **named: Any) -> Chosen:
    """Return options: those of a dictionary or an options object, and what was given by a name of its own.

    Args:
        kind: the dataclass of the options.
        options: a mapping, an object of that dataclass, or None.
        named: further ones, as far as they are not None; they come first.

    Raises:
        TypeError: there is no option of such a name, or one was given twice.
    """
    if is_dataclass(options) and not isinstance(options, type):
        options = asdict(options)
    if not isinstance(options or {}, Mapping):
        raise TypeError(f"options must be a dictionary, not {type(options).__name__}")
    return kind(**(options or {}) | {name: value for name, value in named.items() if value is not None})


def seed_of(seed: int | np.random.Generator | None) -> int | None:
    """Return a seed as a number; a generator gives its next one, as Qiskit's statevector primitives take it."""
    return int(seed.integers(2**32)) if isinstance(seed, np.random.Generator) else seed
