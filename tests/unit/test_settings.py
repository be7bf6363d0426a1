# SPDX-License-Identifier: Apache-2.0
"""Settings: what stands in the guide is what there is, and a wrong value is told by name."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from qonduit_server import cli
from qonduit_server.settings import Settings

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


def _read(monkeypatch: pytest.MonkeyPatch, arguments: list[str], **environment: str) -> Settings:
    """The settings that `qonduit serve` makes of a command line and an environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    context = click.Context(cli.serve)
    cli.serve.parse_args(context, arguments)
    return cli._settings(context.params)


def test_the_guide_lists_every_setting_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(), re.MULTILINE)
    assert listed == [setting.name for setting in dataclasses.fields(Settings)]


def test_without_anything_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(monkeypatch, []) == Settings()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _read(
        monkeypatch,
        [],
        QONDUIT_WORKERS="7",
        QONDUIT_PROVIDERS="IBM, AWS",
        QONDUIT_PROVIDER_PYTHON="AWS=/opt/python,IBM=/usr/bin/python",
    )
    assert settings.workers == 7
    assert settings.providers == ("IBM", "AWS")
    assert settings.provider_python == {"AWS": "/opt/python", "IBM": "/usr/bin/python"}


def test_an_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(monkeypatch, ["--max-shots", "5"], QONDUIT_MAX_SHOTS="6").max_shots == 5


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().workers = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_SHOTS", "many"),
        ("WORKERS", "0"),
        ("LOG_LEVEL", "loud"),
        ("PROVIDER_PYTHON", "AWS"),
        ("LEASE_SECONDS", "-1"),
    ],
)
def test_a_wrong_setting_is_a_usage_error_that_names_it(name: str, value: str) -> None:
    done = CliRunner().invoke(cli.main, ["serve"], env={f"QONDUIT_{name}": value})
    assert done.exit_code == cli.EXIT_USAGE
    assert name.lower().replace("_", "-") in done.output
