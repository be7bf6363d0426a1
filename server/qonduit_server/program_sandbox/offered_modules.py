# SPDX-License-Identifier: Apache-2.0
"""The modules that programs written for other services import: `qiskit_serverless` and `qiskit_ibm_runtime`.

They answer the few names that programs use, with the backend and the inputs of the program. The packages themselves
need a network, and are not loaded.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from typing import Any


class Saved:
    """The value that a program passed to `save_result`."""

    def __init__(self) -> None:
        self.value: list[Any] = []

    def save(self, result: Any) -> bool:
        """Keep a value as the result of the program."""
        self.value = [result]
        return True


def offer(inputs: Mapping[str, Any], service: Callable[[], Any]) -> Saved:
    """Make the modules importable.

    Args:
        inputs: those of the program.
        service: returns the service of the program.

    Returns:
        What the program saves.
    """
    saved = Saved()
    serverless = types.ModuleType("qiskit_serverless", "Answers get_arguments and save_result in a server program.")
    serverless.get_arguments = lambda: dict(inputs)  # type: ignore[attr-defined]
    serverless.save_result = saved.save  # type: ignore[attr-defined]
    serverless.get_runtime_service = lambda *_, **__: service()  # type: ignore[attr-defined]
    serverless.distribute_task = _distribute  # type: ignore[attr-defined]
    serverless.get = _get  # type: ignore[attr-defined]
    sys.modules["qiskit_serverless"] = serverless
    sys.modules["qiskit_ibm_runtime"] = _RuntimeModule(service)
    return saved


class _RuntimeModule(types.ModuleType):
    """`qiskit_ibm_runtime`: its primitives are those of the client, and its service is that of the program."""

    def __init__(self, service: Callable[[], Any]) -> None:
        super().__init__("qiskit_ibm_runtime", "The primitives and the service of a server program.")
        self._service = service

    def __getattr__(self, name: str) -> Any:
        if name in ("SamplerV2", "EstimatorV2", "Sampler", "Estimator"):
            from qonduit_client import qiskit

            return getattr(qiskit, f"{name.removesuffix('V2')}V2")
        if name == "QiskitRuntimeService":
            return lambda *_, **__: self._service()
        if name in ("Session", "Batch"):
            return _Session
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"qiskit_ibm_runtime.{name} does not exist in a server program: it has SamplerV2, EstimatorV2, "
            "QiskitRuntimeService, Session and Batch"
        )


class _Session:
    """A session or a batch, which are not needed here: the jobs of a program run as soon as there is a place."""

    def __new__(cls, backend: Any = None, **_: Any) -> Any:
        return _Mode(backend)


class _Mode:
    """A backend as a context manager."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __enter__(self) -> Any:
        return self._backend

    def __exit__(self, *_: object) -> None:
        return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _distribute(*_: Any, **__: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that runs tasks where they are called: a program has one process."""
    return lambda function: function


def _get(values: Any) -> Any:
    return values
