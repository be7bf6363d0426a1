# SPDX-License-Identifier: Apache-2.0
"""Parse the arguments of the primitives: backend, options and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

import numpy as np

from qonduit_client.qiskit.backend import QonduitBackend

Chosen = TypeVar("Chosen")


def backend_of(mode: QonduitBackend | str | None, backend: QonduitBackend | str | None) -> QonduitBackend:
    """Return the backend passed under either name; by default, the default device.

    Raises:
        TypeError: both are given, or the type is not supported.
        QiskitBackendNotFoundError: the device does not exist.
    """
    if mode is not None and backend is not None:
        raise TypeError("pass the backend once: as the first argument or as backend=")
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
    """Merge options of a dictionary or an options object with named ones.

    Args:
        kind: the dataclass of the options.
        options: a mapping, an object of that dataclass, or None.
        named: further options; those that are not None take precedence.

    Raises:
        TypeError: an option is unknown.
    """
    if is_dataclass(options) and not isinstance(options, type):
        options = asdict(options)
    if not isinstance(options or {}, Mapping):
        raise TypeError(f"options must be a dictionary, not {type(options).__name__}")
    return kind(**(options or {}) | {name: value for name, value in named.items() if value is not None})


def seed_of(seed: int | np.random.Generator | None) -> int | None:
    """Return a seed as a number; a generator draws one, as in Qiskit's statevector primitives."""
    return int(seed.integers(2**32)) if isinstance(seed, np.random.Generator) else seed
