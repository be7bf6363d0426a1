# SPDX-License-Identifier: Apache-2.0
"""A notebook, executed by a real kernel against a real server: complete progress bars, a histogram, a picture."""

from __future__ import annotations

import base64
import re
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.server_process import Server

BELL = 'OPENQASM 3; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
#: Without a page, a notebook runner receives updates only while a cell runs: so the cell waits for its bar.
FINISH = "for thread in threading.enumerate():\n    if thread.name.startswith('bar of job'): thread.join(60)"


def displayed(cell: Any) -> dict[str, Any]:
    """Return the outputs of a cell, by type."""
    (output,) = (each for each in cell.outputs if "data" in each)
    return dict(output["data"])


@pytest.mark.timeout(240)
def test_a_notebook(server: Server) -> None:
    cells = [
        f"import threading\nfrom qonduit_client import Client, aio\nclient = Client({server.target!r})",
        f"job = client.run({BELL!r}, shots=1000)\ndisplay(job)\n{FINISH}",
        "result = job.result(60)\njob",
        "result",
        "%matplotlib inline\nresult.plot();",
        "client.devices()",
        "client.jobs(limit=3)",
        "job.job()",
        f"other = aio.Client({server.target!r})\ntwin = await other.run({BELL!r}, shots=10)\n"
        "import asyncio\ndisplay(twin)\n_ = await asyncio.gather(*twin._bars)",
        "print(sum((await twin.result(60)).counts.values()))",
        "client.close()\nawait other.close()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    _, moving, still, table, picture, devices, jobs, one, twin, waited, _ = notebook.cells
    for cell in (moving, still, twin):
        html = displayed(cell)["text/html"]
        assert re.search(r"Job \d+", html)
        assert "SUCCEEDED" in html
        assert "100%" in html
        assert "IBM/aer_simulator, 1000 shots" in html or "IBM/aer_simulator, 10 shots" in html
        assert "SUCCEEDED, 100%, IBM/aer_simulator" in displayed(cell)["text/plain"]
    for cell in (devices, jobs, one):
        for kind in ("text/html", "text/plain"):
            assert "IBM/aer_simulator" in displayed(cell)[kind]
        assert displayed(cell)["text/html"].startswith("<table>")
    html = displayed(table)["text/html"]
    assert "0x0" in html
    assert "1000 shots, 2 outcomes" in html
    assert base64.b64decode(displayed(picture)["image/png"]).startswith(b"\x89PNG")
    assert [each["text"].strip() for each in waited.outputs] == ["10"]
