# SPDX-License-Identifier: Apache-2.0
"""The files of the noisy corpus that follow from its cases; the programs beside them are written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.corpus.noisy.cases import Case, cases
from tests.corpus.programs import LANGUAGES
from tests.unit.ir import noise_reference

FOLDER: Final = Path(__file__).resolve().parent


def files() -> dict[str, str]:
    """Return the text of each file by its name in the folder."""
    index = []
    written: dict[str, str] = {}
    for case in cases():
        languages = [language for language in LANGUAGES if (FOLDER / case.name / f"program.{language}").is_file()]
        index.append(
            {"case": case.name, "what": case.what, "qubits": case.qubits, "pauli": case.pauli, "languages": languages}
        )
        written[f"{case.name}/program.ref.json"] = _lines(_reference(case))
        if case.noise:
            written[f"{case.name}/noise_model.json"] = json.dumps(case.noise, indent=1) + "\n"
    written["index.json"] = _lines({"cases": index})
    return written


def _reference(case: Case) -> dict[str, Any]:
    """Return a reference of the corpus' form; ten decimals, which no machine's rounding changes."""
    found = noise_reference.distribution(case.qubits, case.program)
    probs = {" ".join(str(bits >> k & 1) for k in range(case.bits)): round(p, 10) for bits, p in sorted(found.items())}
    return {"registers": [[f"c{k}", 1] for k in range(case.bits)], "probs": probs}


def _lines(whole: dict[str, Any]) -> str:
    """Return JSON with a line for each entry of the values, to read changes in it."""
    parts = []
    for key, value in whole.items():
        if isinstance(value, dict):
            inner = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in value.items())
            parts.append(f"{json.dumps(key)}: {{\n  {inner}\n }}")
        elif value and isinstance(value[0], dict):
            inner = ",\n  ".join(json.dumps(each) for each in value)
            parts.append(f"{json.dumps(key)}: [\n  {inner}\n ]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"
