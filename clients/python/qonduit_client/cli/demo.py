# SPDX-License-Identifier: Apache-2.0
"""The command demo: run one Bell program on three providers at once and show the three histograms side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from typing import Final, TextIO

from qonduit_client.cli.views import Row, view_for
from qonduit_client.client import Client
from qonduit_client.errors import QonduitError
from qonduit_client.histogram import bar, can_write_bars
from qonduit_client.result import Result, key_order
from qonduit_client.text_table import table_of

BELL: Final = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
"""
DEVICES: Final = ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator")


def show_demo(
    target: str,
    *,
    shots: int = 1000,
    devices: Sequence[str] = DEVICES,
    timeout: float = 120.0,
    stream: TextIO | None = None,
) -> bool:
    """Run a Bell circuit on several devices of a running server and show the results.

    Args:
        target: the server, as "HOST:PORT".
        shots: per run.
        devices: "PROVIDER/device" each.
        timeout: seconds for each run.
        stream: output; standard output by default.

    Returns:
        Whether every device ran the program and all results agree.
    """
    stream = stream or sys.stdout
    print(f"Bell, {shots} shots, on {len(devices)} providers at once.", file=stream)
    print("A provider's first job waits until its SDK is loaded, which takes some seconds.\n", file=stream, flush=True)
    outcomes: dict[str, Result | QonduitError] = {}
    with (
        Client(target) as client,
        view_for(stream) as view,
        ThreadPoolExecutor(len(devices), thread_name_prefix="demo") as threads,
    ):
        rows = [view.row(device) for device in devices]
        running = [
            threads.submit(_one, client, device, shots, timeout, row) for device, row in zip(devices, rows, strict=True)
        ]
        for device, each in zip(devices, running, strict=True):
            outcomes[device] = each.result()
    results = {device: outcome for device, outcome in outcomes.items() if isinstance(outcome, Result)}
    if results:
        shown = {device: each.counts for device, each in results.items()}
        print("\n" + side_by_side(shown, ascii_only=not can_write_bars(stream)), file=stream)
    for device, outcome in outcomes.items():
        if isinstance(outcome, QonduitError):
            print(f"\n{device} failed: {outcome.message}", file=stream)
    if not results:
        return False
    agree = agreed([each.counts for each in results.values()])
    if agree and len(results) > 1:
        print(f"\nAll {len(results)} agree: the same outcomes, equally often within sampling error.", file=stream)
    elif not agree:
        print("\nThe results do not agree.", file=stream)
    return agree and len(results) == len(devices)


def _one(client: Client, device: str, shots: int, timeout: float, row: Row) -> Result | QonduitError:
    try:
        job = client.run(BELL, device, shots, name="bell")
        for event in job.events(timeout=timeout):
            row(event)
        return job.result(timeout=timeout)
    except QonduitError as error:
        return error


def side_by_side(counts: Mapping[str, Mapping[str, int]], *, width: int = 14, ascii_only: bool = False) -> str:
    """Return several histograms as one table: one line per outcome, one column of count and bar per device."""
    keys = sorted({key for each in counts.values() for key in each}, key=key_order)
    totals = {device: sum(each.values()) or 1 for device, each in counts.items()}
    largest = max((each[key] / totals[device] for device, each in counts.items() for key in each), default=1.0)
    digits = max((len(str(count)) for each in counts.values() for count in each.values()), default=1)

    def cell(device: str, key: str) -> str:
        count = counts[device].get(key, 0)
        drawn = bar(count / totals[device] / largest, width, ascii_only=ascii_only)
        return f"{count:>{digits}} {drawn:<{width}}"

    rows = [(key, *(cell(device, key) for device in counts)) for key in keys]
    return table_of(("", *counts), rows, right={0})


def agreed(several: Sequence[Mapping[str, int]]) -> bool:
    """Return whether all counts may have one distribution: frequencies differ by at most five standard errors."""
    keys = {key for counts in several for key in counts}
    for index, one in enumerate(several):
        for other in several[index + 1 :]:
            n, m = sum(one.values()), sum(other.values())
            if not n or not m:
                return False
            for key in keys:
                a, b = one.get(key, 0), other.get(key, 0)
                pooled = (a + b) / (n + m)
                if abs(a / n - b / m) > 5 * sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)) + 1e-12:
                    return False
    return True
