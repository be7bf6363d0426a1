# SPDX-License-Identifier: Apache-2.0
"""Commands for estimators and samplers: estimate, sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import click

from qonduit_client.cli.credential_options import take_credential
from qonduit_client.cli.job_options import job_options, programs_and_name, suggesting_devices
from qonduit_client.cli.result_output import ResultOptions, add_result_options
from qonduit_client.cli.run import follow_new, show_checked
from qonduit_client.cli.session import SHOTS, session, shared_options
from qonduit_client.cli.simulation_flags import estimator_simulation_flags, simulation_flags, take_simulation
from qonduit_client.cli.sweep import numeric_values, sweep_option
from qonduit_client.cli.watch import timeout_option

_detach = click.option("--detach", is_flag=True, help="Print the job's id and exit without following the job.")
_validate_only = click.option(
    "--validate-only", is_flag=True, help="Parse and compile the programs without running them."
)


@click.command()
@job_options
@click.option(
    "--observable",
    "observables",
    multiple=True,
    required=True,
    metavar="TEXT",
    help="A sum of Pauli products: '1.5*X0*X1 - 0.5*Z0'. Qubits are numbered as the program declares them. Repeatable.",
)
@click.option("--exact", is_flag=True, help="Compute exact values, on devices that have them.")
@click.option(
    "--precision",
    type=float,
    metavar="E",
    help="The standard error to reach for each observable; --shots is then the maximum.",
)
@click.option(
    "--shots", type=SHOTS, metavar="N", help="Shots per circuit. [default: 1000, without --exact and --precision]"
)
@click.option("--gradient", is_flag=True, help="Also show the derivatives by the inputs of --sweep.")
@click.option(
    "--confidence", "confidence_level", type=float, metavar="P", help="Level of the intervals. [default: 0.95]"
)
@sweep_option
@estimator_simulation_flags
@_detach
@_validate_only
@timeout_option
@shared_options()
def estimate(
    sources: Sequence[str],
    deployment: int | None,
    request_id: str | None,
    observables: Sequence[str],
    sweep: dict[str, list[object]],
    detach: bool,
    validate_only: bool,
    timeout: float | None,
    **options: Any,
) -> int:
    """Estimate expectation values of observables, and show a row for each observable and point.

    Measurements at the end of a program are ignored. For example:
    qonduit estimate ansatz.qasm --observable 'Z0*Z1' --sweep theta=0:pi:9 --exact
    """
    here = session()
    take_simulation(options)
    sources, programs, options["name"] = programs_and_name("estimate", sources, deployment, options["name"])
    options["parameter_values"] = numeric_values(sweep, options["inputs"])
    with here.client() as client, suggesting_devices(client, options["device"]):
        take_credential(client, options)
        if validate_only:
            checked = client.check_estimate(programs, list(observables), deployment_id=deployment, **options)
            return show_checked(here, checked, options)
        return follow_new(
            here,
            client,
            lambda own_id: client.submit_estimate(
                programs, list(observables), deployment_id=deployment, request_id=own_id, **options
            ),
            *(sources, request_id, detach, timeout, ResultOptions()),
            label=options["device"],
        )


@click.command()
@job_options
@click.option("--shots", type=SHOTS, metavar="N", help="Shots per circuit. [default: 1000, without --exact]")
@click.option("--per-shot", is_flag=True, help="Also show the outcome of each shot, in the order of the shots.")
@click.option("--exact", is_flag=True, help="Show exact probabilities, on devices that have them.")
@sweep_option
@simulation_flags
@_detach
@_validate_only
@timeout_option
@add_result_options
@shared_options()
def sample(
    sources: Sequence[str],
    deployment: int | None,
    request_id: str | None,
    sweep: dict[str, list[object]],
    detach: bool,
    validate_only: bool,
    timeout: float | None,
    sort: Literal["key", "count"],
    top: int | None,
    bits: bool,
    **options: Any,
) -> int:
    """Sample the outcomes of programs, and show their probabilities."""
    here = session()
    take_simulation(options)
    sources, programs, options["name"] = programs_and_name("sample", sources, deployment, options["name"])
    options["parameter_values"] = numeric_values(sweep, options["inputs"])
    with here.client() as client, suggesting_devices(client, options["device"]):
        take_credential(client, options)
        if validate_only:
            checked = client.check_sample(programs, deployment_id=deployment, **options)
            return show_checked(here, checked, options)
        return follow_new(
            here,
            client,
            lambda own_id: client.submit_sample(programs, deployment_id=deployment, request_id=own_id, **options),
            *(sources, request_id, detach, timeout, ResultOptions(sort, top, bits)),
            label=options["device"],
        )
