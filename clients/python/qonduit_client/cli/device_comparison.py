# SPDX-License-Identifier: Apache-2.0
"""The table of `qonduit devices --for FILE`: which devices can run programs, how, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.output import Column, size, write_rows
from qonduit_client.cli.session import Session
from qonduit_client.cli.sources import read_sources

if TYPE_CHECKING:
    from qonduit.v1.device_service_pb2 import DeviceFit


def show_comparison(here: Session, sources: Sequence[str], options: Mapping[str, Any]) -> int:
    """Write how each device would run the programs of these files, the preferred devices first.

    Args:
        here: the server and the output format.
        sources: the files; "-" is standard input.
        options: arguments of `Client.compare_devices`.
    """
    from qonduit_client.formatting import duration_text

    programs = read_sources(sources, why="standard input is empty: pass a program")
    with here.client() as client:
        fits = client.compare_devices(programs, **options)

    def seconds(fit: DeviceFit) -> float | None:
        return fit.estimated_seconds_p50 if fit.HasField("estimated_seconds_p50") else None

    def seconds_p90(fit: DeviceFit) -> float | None:
        return fit.estimated_seconds_p90 if fit.HasField("estimated_seconds_p90") else None

    def time(fit: DeviceFit) -> str:
        usual, most = seconds(fit), seconds_p90(fit)
        if usual is None or most is None:
            return "unknown" if fit.supported else ""
        return f"{duration_text(usual)} (p90 {duration_text(most)})"

    columns = [
        Column("device", lambda fit: fit.device, "DEVICE"),
        Column("device_id", lambda fit: fit.device_id),
        Column("supported", lambda fit: fit.supported, "RUNS IT", lambda fit: "yes" if fit.supported else "no"),
        Column("auto_eligible", lambda fit: fit.auto_eligible),
        Column("method", lambda fit: fit.method, "METHOD"),
        Column(
            "memory_bytes",
            lambda fit: fit.memory_bytes,
            "MEMORY",
            lambda fit: size(fit.memory_bytes) if fit.memory_bytes else "",
            right=True,
        ),
        Column("estimated_seconds_p50", seconds, "ESTIMATED TIME", time, right=True),
        Column("estimated_seconds_p90", seconds_p90),
        Column("queue_depth", lambda fit: fit.queue_depth, "WAITING", right=True),
        Column("reason", lambda fit: fit.reason, "NOTE"),
    ]
    write_rows(here, columns, fits, line=lambda fit: fit, empty="no devices; `qonduit doctor` names missing parts")
    return OK
