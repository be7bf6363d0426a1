# SPDX-License-Identifier: Apache-2.0
"""The options of commands that choose a simulation method or add noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from qonduit_client.cli.completion import methods
from qonduit_client.cli.session import Number

_Command = TypeVar("_Command", bound=Callable[..., Any])
_BOND = Number("a bond dimension must be an integer from 1 to 65536")
_LEVEL = Number("an optimization level must be an integer from 0 to 3", 0)
#: The options and the fields of SimulationOptions that they set.
_FIELDS = ("method", "floating_point", "max_bond_dimension", "optimization_level", "allow_approximate", "min_fidelity")


def simulation_flags(command: _Command) -> _Command:
    """Add the options; `take_simulation` reads them from the command's arguments."""
    return _flags(command, "--floating-point", "--precision")


def estimator_simulation_flags(command: _Command) -> _Command:
    """Add the options for a command whose --precision is a standard error."""
    return _flags(command, "--floating-point")


def _flags(command: _Command, *floating_point: str) -> _Command:
    for option in reversed(
        (
            click.option(
                "--method",
                metavar="NAME",
                help="Simulation method; `qonduit devices` lists them. [default: chosen by the device]",
                shell_complete=methods,
            ),
            click.option(
                *floating_point,
                "floating_point",
                type=click.Choice(["double", "single"]),
                help="Precision of amplitudes. [default: the device's]",
            ),
            click.option(
                "--max-bond-dimension",
                type=_BOND,
                metavar="N",
                help="Largest bond dimension of matrix_product_state. [default: 256]",
            ),
            click.option(
                "--optimization-level",
                type=_LEVEL,
                metavar="N",
                help="Optimization on devices with a coupling map, 0 to 3. [default: 1]",
            ),
            click.option(
                "--allow-approximate", is_flag=True, help="Accept an approximate method where no exact one fits."
            ),
            click.option(
                "--min-fidelity",
                type=float,
                metavar="F",
                help="Fail below this fidelity of an approximate state, above 0 and up to 1. [default: 0.9]",
            ),
            click.option(
                "--noise-model",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Add the errors of this noise model: JSON of NoiseModel, or of Qiskit Aer's.",
            ),
        )
    ):
        command = option(command)
    return command


def take_simulation(options: dict[str, Any]) -> None:
    """Replace the values of the options by the client's arguments `simulation` and `noise_model`.

    Raises:
        click.BadParameter: the noise model's file is invalid.
    """
    given = {name: options.pop(name) for name in _FIELDS}
    fields = {name: value for name, value in given.items() if value is not None and value is not False}
    if fields:
        options["simulation"] = fields
    path: Path | None = options.pop("noise_model")
    if path is None:
        return
    from qonduit_client.simulation_options import noise_of

    try:
        options["noise_model"] = noise_of(path.read_text())
    except (OSError, ValueError, TypeError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--noise-model") from None
