# SPDX-License-Identifier: Apache-2.0
"""Convert Aer's options of a simulation (noise model, method, precision ...) to arguments of `Client.run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qiskit.exceptions import QiskitError

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_client.simulation_options import aer_model, own_model

#: Options, by their names here and in Aer, and the fields of the contract's SimulationOptions.
_FIELDS: Final = {
    "method": "method",
    "precision": "floating_point",
    "max_bond_dimension": "max_bond_dimension",
    "matrix_product_state_max_bond_dimension": "max_bond_dimension",
    "allow_approximate": "allow_approximate",
    "min_fidelity": "min_fidelity",
    "optimization_level": "optimization_level",
}
#: The names of the options in a run.
OPTIONS: Final = ("noise_model", *_FIELDS)


def run_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Client.run` for some of `OPTIONS`, without unset options.

    Raises:
        QiskitError: an option has a value of the wrong type.
    """
    arguments: dict[str, Any] = {}
    simulation = {_FIELDS[name]: value for name, value in given.items() if name in _FIELDS and value is not None}
    if simulation.get("method") == "automatic":  # Aer's name for the choice of the device
        del simulation["method"]
    if simulation.get("method") == "statevector" and given.get("noise_model") is not None:
        simulation["method"] = "trajectories"  # what Aer does with noise under this name
    if simulation:
        arguments["simulation"] = _simulation(simulation)
    if (model := given.get("noise_model")) is not None:
        arguments["noise_model"] = _noise_model(model)
    return arguments


def _simulation(options: Mapping[str, Any]) -> SimulationOptions:
    try:
        return SimulationOptions(**options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise QiskitError(f"an option of the simulation has a value of the wrong type ({given}): {error}") from error


def _noise_model(model: Any) -> NoiseModel:
    if isinstance(model, NoiseModel):
        return model
    if isinstance(model, Mapping):
        try:
            return own_model(model)
        except ValueError as error:
            raise QiskitError(str(error)) from error
    if not callable(to_dict := getattr(model, "to_dict", None)):
        raise QiskitError(
            "noise_model must be a NoiseModel of Qiskit Aer, a NoiseModel message or a dict of its fields, "
            f"got {model!r}"
        )
    return aer_model(to_dict(serializable=True))
