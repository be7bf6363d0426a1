# SPDX-License-Identifier: Apache-2.0
"""The configuration file: its values and errors, and the order of options, variables, file and defaults."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from qonduit_server import config_file
from qonduit_server.errors import StartError
from qonduit_server.setting_values import as_text, from_text, settings_by_name
from qonduit_server.settings import Settings
from tests.server_process import configuration_of


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a file, which is the default one."""
    monkeypatch.delenv(config_file.VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "qonduit" / "server.toml"
    path.parent.mkdir()
    return path


def _write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_values_of_each_kind_are_read(path: Path) -> None:
    _write(
        path,
        """
        listen = "127.0.0.1:7"
        providers = ["IBM", "AWS"]
        workers = 3
        lease_seconds = 4
        drain_seconds = 1.5
        log_level = "error"
        reflection = false
        public_health = "on"
        default_quotas = {queued_jobs = 1000, open_streams = "7"}

        [tls_client_roles]
        "ci.example.org" = "operator"
        """,
    )
    settings = configuration_of().settings
    assert (settings.listen, settings.providers, settings.workers) == ("127.0.0.1:7", ("IBM", "AWS"), 3)
    assert (settings.lease_seconds, settings.drain_seconds) == (4, 1.5)
    assert isinstance(settings.lease_seconds, float)
    assert (settings.log_level, settings.reflection, settings.public_health) == ("error", "off", "on")
    assert settings.default_quotas == {"queued_jobs": "1000", "open_streams": "7"}
    assert settings.tls_client_roles == {"ci.example.org": "operator"}


def test_options_go_before_variables_before_the_file_before_defaults(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(path, "max_shots = 1\nmax_programs = 2\nworkers = 3\nstream_send_timeout_seconds = 4\n")
    monkeypatch.setenv("QONDUIT_MAX_SHOTS", "10")
    monkeypatch.setenv("QONDUIT_WORKERS", "30")
    # A deprecated name is a variable too.
    monkeypatch.setenv("QONDUIT_SLOW_READER_SECONDS", "40")
    configuration = configuration_of("--workers", "300")
    settings = configuration.settings
    assert (settings.max_shots, settings.max_programs, settings.workers) == (10, 2, 300)
    assert settings.stream_send_timeout_seconds == 40
    origins = configuration.origins
    assert origins["max_shots"] == "QONDUIT_MAX_SHOTS"
    assert origins["max_programs"] == f"{path}, line 2"
    assert origins["workers"] == "--workers"
    assert origins["stream_send_timeout_seconds"] == "QONDUIT_SLOW_READER_SECONDS"
    assert origins["max_streams"] == "default"
    assert configuration.deprecated == {"slow_reader_seconds": "stream_send_timeout_seconds"}


def test_a_reread_changes_only_what_the_file_determines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(path, "max_shots = 1\nmax_programs = 2\n")
    monkeypatch.setenv("QONDUIT_MAX_SHOTS", "10")
    configuration = configuration_of()
    _write(path, "max_shots = 3\n\nmax_streams = 4\n")
    monkeypatch.setenv("QONDUIT_MAX_SHOTS", "11")
    again = configuration.reread()
    assert (again.settings.max_shots, again.settings.max_streams) == (10, 4)
    assert again.settings.max_programs == Settings().max_programs
    assert again.origins["max_streams"] == f"{path}, line 3"
    _write(path, "max_shots = -1\n")
    with pytest.raises(StartError, match="max_shots"):
        configuration.reread()


def test_paths_begin_in_the_folder_of_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(
        path,
        """
        listen = "unix:q.socket"
        database = "sqlite:///q.sqlite3"
        token_file = "/elsewhere/tokens.json"
        credential_key_file = "~/keys"
        translation_cache = "cache"
        provider_python = {AWS = "aws/bin/python"}
        """,
    )
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("QONDUIT_TLS_KEY", "tls.key")
    settings = configuration_of().settings
    folder = path.parent
    assert settings.listen == f"unix:{folder}/q.socket"
    assert settings.database == f"sqlite:///{folder}/q.sqlite3"
    assert settings.token_file == "/elsewhere/tokens.json"
    assert settings.credential_key_file == "/home/anna/keys"
    assert settings.translation_cache == f"{folder}/cache"
    assert settings.provider_python == {"AWS": f"{folder}/aws/bin/python"}
    assert settings.tls_key == "tls.key"


def test_the_option_goes_before_the_variable_before_the_default_place(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "SYSTEM_FILE", tmp_path / "none.toml")
    assert configuration_of().path is None
    _write(path, "max_shots = 1\n")
    assert configuration_of().settings.max_shots == 1
    monkeypatch.setenv(config_file.VARIABLE, str(_write(tmp_path / "b.toml", "max_shots = 2\n")))
    assert configuration_of().settings.max_shots == 2
    assert configuration_of("--config", str(_write(tmp_path / "c.toml", "max_shots = 3\n"))).settings.max_shots == 3
    assert configuration_of("--config", os.devnull).settings == Settings()


def test_the_system_file_is_the_last_default(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "SYSTEM_FILE", _write(tmp_path / "system.toml", "max_shots = 5\n"))
    assert configuration_of().settings.max_shots == 5
    _write(path, "")
    assert configuration_of().settings == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_shot = 3", "line 2: max_shot: is not a setting; did you mean max_shots?"),
        ("MAX-SHOTS = 3", "line 2: MAX-SHOTS: is not a setting; did you mean max_shots?"),
        ("[server]\nmax_shots = 3", "line 2: server: is not a setting"),
        ("python_source = []", "line 2: python_source: was renamed: use enable_python_source"),
        ('max_shots = "3"', "line 2: max_shots: must be an integer of at least 1, got '3'"),
        ("max_shots = 3.0", "line 2: max_shots: must be an integer of at least 1, got 3.0"),
        ("max_shots = true", "line 2: max_shots: must be an integer of at least 1, got true"),
        ("max_shots = 0", "line 2: max_shots: must be an integer of at least 1, got 0"),
        ("lease_seconds = nan", "line 2: lease_seconds: must be a number of at least 0.1, got nan"),
        ("lease_seconds = inf", "line 2: lease_seconds: must be a number of at least 0.1, got inf"),
        (f"lease_seconds = {'9' * 400}", "line 2: lease_seconds: must be a number of at least 0.1, got more than"),
        ('providers = "IBM"', "line 2: providers: must be a list of strings"),
        ("providers = [1]", "line 2: providers: must be a list of strings"),
        ('provider_python = ["AWS"]', "line 2: provider_python: must be a table of strings"),
        ("provider_python = {AWS = true}", "line 2: provider_python: must be a table of strings"),
        ("database = 3", "line 2: database: must be a string, got 3"),
        ('log_level = "loud"', "line 2: log_level: must be one of debug, info, warning, error, got 'loud'"),
        ("audit = true", "line 2: audit: must be a string, got true"),
        ('listen = "here"', "line 2: listen: must be HOST:PORT"),
        ("max_shots = 3\nmax_shots = 4", "not valid TOML: Cannot overwrite a value (at line 3"),
        ("max_shots =", "not valid TOML: Invalid value (at line 2"),
        ("a = '\udcff'", "line 2: not valid UTF-8"),
    ],
)
def test_errors_name_file_line_and_key(path: Path, text: str, message: str) -> None:
    path.write_bytes(f"# comment\n{text}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(click.UsageError) as refused:
        configuration_of()
    assert str(path) in refused.value.message
    assert message in refused.value.message


@pytest.mark.parametrize("mode", [0o640, 0o600])
@pytest.mark.parametrize(
    "url", ["postgresql://anna:s3cret@127.0.0.1/q", "postgresql://anna@127.0.0.1/q?password=s3cret"]
)
def test_a_password_in_a_file_of_others_is_refused(path: Path, url: str, mode: int) -> None:
    _write(path, f'database = "{url}"\n', mode)
    configuration = configuration_of()
    assert configuration.settings.database == url
    assert "s3cret" not in str(configuration.rows())
    for open_mode in (mode | 0o004, mode | 0o020):
        path.chmod(open_mode)
        with pytest.raises(
            click.UsageError, match=r"line 1: database: contains a password, and other users"
        ) as refused:
            configuration_of()
        assert "s3cret" not in refused.value.message
    _write(path, 'database = "postgresql://anna@127.0.0.1/q"\n', 0o644)
    assert configuration_of().settings.database == "postgresql://anna@127.0.0.1/q"


def test_a_file_that_others_can_change_is_refused(path: Path) -> None:
    _write(path, "", 0o602)
    with pytest.raises(click.UsageError, match="other users can change this file: `chmod o-w"):
        configuration_of()


def test_a_file_that_is_missing_or_too_large_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"none\.toml: No such file or directory \(--config"):
        configuration_of("--config", str(tmp_path / "none.toml"))
    _write(path, "#" * (1024**2 + 1))
    with pytest.raises(click.UsageError, match="must have at most 1048576 bytes"):
        configuration_of()
    _write(path, "#" * 1024**2)
    assert configuration_of().settings == Settings()


def test_the_text_of_each_default_is_read_as_the_same_value() -> None:
    defaults = Settings()
    for name, setting in settings_by_name().items():
        value = getattr(defaults, name)
        assert from_text(setting, as_text(setting, value)) == value, name
