# SPDX-License-Identifier: Apache-2.0
"""Convert simulation options, noise models and stop conditions from Python to protobuf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.json_format import ParseDict, ParseError

from qonduit.v1.job_pb2 import StopCondition
from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_client.aer_errors import to_text

#: The message, or its fields by name: {"method": "matrix_product_state", "max_bond_dimension": 64}.
Simulation: TypeAlias = SimulationOptions | Mapping[str, object]
#: The message, its fields by name as in protobuf's JSON, that JSON as text, or a noise model of Qiskit Aer: the object,
#: or `NoiseModel.to_dict(serializable=True)` as a dictionary or JSON text.
Noise: TypeAlias = NoiseModel | Mapping[str, object] | str | Any

#: The standard error at which a job ends early: a number, or the message.
Stop: TypeAlias = float | StopCondition


def simulation_of(options: Simulation) -> SimulationOptions:
    """Return the message of simulation options.

    Raises:
        ValueError: a field is unknown or has an unsupported value.
    """
    if isinstance(options, SimulationOptions):
        return options
    try:
        return ParseDict(dict(options), SimulationOptions())
    except (ParseError, TypeError, ValueError) as error:
        raise ValueError(f"simulation: {error}") from None


def stop_of(condition: Stop) -> StopCondition:
    """Return the message of a stop condition.

    Raises:
        TypeError: it is neither a number nor a message.
    """
    if isinstance(condition, StopCondition):
        return condition
    try:
        return StopCondition(standard_error=condition)
    except TypeError:
        raise TypeError(f"stop_when must be a standard error, as 0.01, got {condition!r}") from None


def noise_of(model: Noise) -> NoiseModel:
    """Return the message of a noise model; a model of Aer is passed on as `aer_json`.

    Raises:
        ValueError: the model has an unknown field or an unsupported value.
        TypeError: it is none of the supported types.
    """
    if isinstance(model, NoiseModel):
        return model
    if not isinstance(model, str | Mapping) and callable(getattr(model, "to_dict", None)):
        return aer_model(model.to_dict(serializable=True))
    if isinstance(model, str):
        try:
            model = json.loads(model)
        except ValueError as error:
            raise ValueError(f"noise_model: invalid JSON: {error}") from None
    if not isinstance(model, Mapping):
        raise TypeError(f"noise_model must be a NoiseModel, a dictionary or JSON text, got {type(model).__name__}")
    return aer_model(model) if "errors" in model else own_model(model)


def own_model(fields: Mapping[str, object]) -> NoiseModel:
    """Return the noise model with these fields of the contract.

    Raises:
        ValueError: a field is unknown or has an unsupported value.
    """
    try:
        return ParseDict(dict(fields), NoiseModel())
    except (ParseError, TypeError, ValueError) as error:
        raise ValueError(f"noise_model: {error}") from None


def aer_model(fields: Mapping[str, object]) -> NoiseModel:
    """Return the noise model for `NoiseModel.to_dict(serializable=True)` of Qiskit Aer.

    Raises:
        TypeError: a value has no JSON.
    """
    return NoiseModel(aer_json=to_text(fields))
