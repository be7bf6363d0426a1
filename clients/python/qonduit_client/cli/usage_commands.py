# SPDX-License-Identifier: Apache-2.0
"""The commands for usage and quotas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.output import Column, size, write_rows
from qonduit_client.cli.session import session, shared_options
from qonduit_client.cli.times import time_of

if TYPE_CHECKING:
    from qonduit.v1.quota_pb2 import Quota, QuotaValues
    from qonduit_client.usage_requests import Limit

_GROUPINGS: Final = ("owner", "user", "device", "day")
_BYTES: Final = ("running_memory_bytes", "stored_bytes", "upload_bytes_per_minute")


def _day(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the day (UTC) of a time."""
    if value is None:
        return None
    try:
        # A day without a time is that day, in whichever zone.
        return value if len(value) == len("2026-11-29") else str(time_of(value, -1).date())
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@click.command()
@click.option(
    "--since", metavar="TIME", callback=_day, help="Days of this time (12h, 30d) or since this day (2026-01-31), UTC."
)
@click.option("--until", metavar="TIME", callback=_day, help="The last day.  [today]")
@click.option(
    "--by",
    type=click.Choice(_GROUPINGS),
    multiple=True,
    default=("day",),
    show_default=True,
    help="Group by this column. Repeatable.",
)
@click.option("--owner", metavar="NAME", help="Only this owner: a user, or projects/NAME.")
@click.option("--csv", "as_csv", is_flag=True, help="The same as --output csv.")
@shared_options()
def usage(since: str | None, until: str | None, by: Sequence[str], owner: str | None, as_csv: bool) -> int:
    """Show what jobs used: their number, shots and worker seconds. Operators see all owners."""
    here = session()
    if as_csv:
        here.output = "csv"
    names = {"owner": "owner", "user": "executed_by", "device": "device", "day": "day"}
    columns = [Column(names[each], _field(names[each]), each.upper()) for each in dict.fromkeys(by)]
    columns += [
        Column("jobs", lambda each: each.jobs, "JOBS", right=True),
        Column("shots", lambda each: each.shots, "SHOTS", right=True),
        Column(
            "worker_seconds",
            lambda each: round(each.worker_seconds, 3),
            "WORKER SECONDS",
            lambda each: f"{each.worker_seconds:.1f}",
            right=True,
        ),
    ]
    if tuple(dict.fromkeys(by)) == ("owner",):
        columns.append(
            Column("stored_bytes", lambda each: each.stored_bytes, "STORED", lambda each: size(each.stored_bytes), True)
        )
    with here.client() as client:
        rows = client.usage(dict.fromkeys(by), since=since, until=until, owner=owner)
        columns.append(Column("costs", _costs, "COSTS" if any(each.costs for each in rows) else "", right=True))
        write_rows(here, columns, rows, line=lambda each: each, empty="no job has ended in these days")
    return OK


def _costs(row: Any) -> str:
    """Return what vendors charge, by unit, with the reservations."""
    return ", ".join(
        f"{each.spent:.12g} {each.unit}" + (f" (and {each.reserved:.12g} reserved)" if each.reserved else "")
        for each in row.costs
    )


def _field(name: str) -> Any:
    return lambda each: getattr(each, name)


@click.group()
def quota() -> None:
    """Show and set quotas: what an owner may use."""


@quota.command()
@click.argument("owner", required=False)
@shared_options()
def show(owner: str | None) -> int:
    """Show the quota of OWNER, by default your own, and its current use."""
    from qonduit_client.cli.as_json import as_line

    here = session()
    with here.client() as client:
        found = client.quota(owner)
    if here.as_json:
        click.echo(as_line(found))
        return OK
    columns = [
        Column("quota", lambda name: name, "QUOTA"),
        Column("used", lambda name: _value(found.used, name), "USED", lambda name: _shown(found.used, name), True),
        Column(
            "limit", lambda name: _limit(found, name), "LIMIT", lambda name: _shown(found.effective, name), right=True
        ),
        Column("of", lambda name: "default" if _value(found.limits, name) is None else "owner", "SET FOR"),
    ]
    write_rows(here, columns, _names([found.effective, found.used]))
    return OK


@quota.command("set")
@click.argument("owner")
@click.argument("limits", nargs=-1, required=True, metavar="NAME=NUMBER...")
@shared_options()
def set_limits(owner: str, limits: Sequence[str]) -> int:
    """Set limits of OWNER, a user or projects/NAME; the others remain.

    NUMBER may also be `unlimited`, or `default` for the server's setting. `cost_per_day.EUR=50` limits the costs in a
    unit, and `cost_per_day=default` ends the owner's own limits of costs.
    """
    here = session()
    values: dict[str, Limit] = {}
    for each in limits:
        name, value = _parsed(each)
        name, _, unit = name.partition(".")
        earlier = values.get(name)
        if unit and value is not None:
            values[name] = {**(earlier if isinstance(earlier, Mapping) else {}), unit: value}
        elif unit:
            raise click.UsageError(f"one unit has no default of its own, got {each!r}: use {name}=default")
        else:
            values[name] = value if value is None else int(value)
    with here.client() as client:
        try:
            changed = client.set_quota(owner, **values)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    write_rows(here, _columns([changed]), [changed], line=lambda each: each)
    return OK


@quota.command("list")
@shared_options()
def list_quotas() -> int:
    """List the owners whose quotas differ from the server's default."""
    here = session()
    with here.client() as client:
        found = client.quotas()
    write_rows(
        here, _columns(found), found, line=lambda each: each, empty="no quotas; every owner has the server's default"
    )
    return OK


def _parsed(text: str) -> tuple[str, float | None]:
    name, _, value = text.partition("=")
    words = {"unlimited": -1, "default": None}
    if value in words:
        return name, words[value]
    if "." in name and re.fullmatch("[0-9]{1,9}([.][0-9]{1,6})?", value):
        return name, float(value)
    if not (value.isascii() and value.isdigit()) or int(value) >= 2**63:
        raise click.UsageError(
            f"a limit is NAME=NUMBER, NAME=unlimited or NAME=default, with a number of at least 0, got {text!r}"
        )
    return name, int(value)


def _names(values: Sequence[QuotaValues]) -> list[str]:
    """Return the names of quotas; those of costs have the unit."""
    names = [field.name for field in values[0].DESCRIPTOR.fields if field.has_presence] if values else []
    units = sorted({unit for each in values for unit in each.cost_per_day})
    return [*names, *(f"cost_per_day.{unit}" for unit in units)]


def _columns(quotas: Sequence[Quota]) -> list[Column]:
    """Return the owner, and in the table the limits that any of the quotas sets."""
    names = _names([each.limits for each in quotas])
    used = {name for name in names if any(_value(each.limits, name) is not None for each in quotas)}

    def column(name: str) -> Column:
        head = name.replace("_", " ").upper() if name in used else ""
        return Column(name, lambda each: _value(each.limits, name), head, lambda each: _shown(each.limits, name), True)

    return [Column("owner", lambda each: each.owner, "OWNER"), *(column(name) for name in names)]


def _value(values: Any, name: str) -> float | None:
    name, _, unit = name.partition(".")
    found: float | None = values.cost_per_day.get(unit) if unit else None
    return getattr(values, name) if not unit and values.HasField(name) else found


def _limit(found: Quota, name: str) -> float | None:
    return value if (value := _value(found.effective, name)) != -1 else None


def _shown(values: Any, name: str) -> str:
    value = _value(values, name)
    if value is None:
        return ""
    if value == -1:
        return "unlimited"
    return size(int(value)) if name in _BYTES else f"{value:.15g}" if isinstance(value, float) else str(value)
