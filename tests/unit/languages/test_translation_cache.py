# SPDX-License-Identifier: Apache-2.0
"""The translation cache: costly programs are read once for all processes; every failure is a cache miss."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.ir import serialization
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.formula import bit, conjunction, negation, parity
from qonduit_server.languages import openqasm2_reader, registry
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.languages.translation_cache import TranslationCache
from qonduit_server.process import file_cache
from qonduit_server.process.file_cache import FileCache

ROOT = Path(__file__).resolve().parents[3]
QASM3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
PROGRAM = """OPENQASM 3.0; include "stdgates.inc"; input float theta;
gate g(a) p, q { rx(a / 2) p; ctrl @ x p, q; }
qubit[2] q; bit[2] c; bit d;
g(theta) q[0], q[1]; c[0] = measure q[0]; if (c[0]) { x q[1]; reset q[0]; } c = measure q; d = c[0] ^ c[1];"""


def kept(tmp_path: Path, most_bytes: int = 1 << 20) -> TranslationCache:
    return TranslationCache(FileCache(tmp_path / "cache", most_bytes))


def files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def same(one: Circuit, other: Circuit) -> bool:
    return (one.registers, one.warnings) == (other.registers, other.warnings) and one.quantum == other.quantum


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every program count as costly to read."""
    monkeypatch.setattr(registry, "_COSTLY_SECONDS", -1.0)


def test_the_cached_circuit_equals_the_one_read(tmp_path: Path) -> None:
    circuit = openqasm3_reader.read(PROGRAM, {"theta": 0.7})
    cache = kept(tmp_path)
    key = cache.key(QASM3, PROGRAM, {"theta": 0.7})
    assert cache.get(key) is None
    cache.put(key, circuit)
    found = cache.get(key)
    assert found is not None
    assert same(found, circuit)
    assert found.key(0b11) == circuit.key(0b11)


def test_owners_share_no_entry(tmp_path: Path, always: None) -> None:
    languages = registry.Languages(kept(tmp_path))
    for scope in ("one", "other", "one"):
        languages.read(QASM3, PROGRAM, b"", {"theta": 0.7}, scope=scope)
    assert len(files(tmp_path)) == 2


def test_another_installation_of_the_same_release_uses_the_entries(tmp_path: Path) -> None:
    """As on another machine: the files of its readers have other paths and times."""
    cache = kept(tmp_path)
    cache.put(cache.key(QASM3, PROGRAM, {"theta": 0.7}, scope="one"), openqasm3_reader.read(PROGRAM, {"theta": 0.7}))
    copied = tmp_path / "installation"
    ignored = shutil.ignore_patterns("__pycache__")
    for root in ("server", "clients/python", "generated/python"):
        shutil.copytree(ROOT / root, copied / root, ignore=ignored, copy_function=shutil.copyfile)
    code = (
        "from pathlib import Path; from qonduit_server.languages.translation_cache import TranslationCache; "
        "from qonduit_server.process.file_cache import FileCache; "
        f"cache = TranslationCache(FileCache(Path({str(tmp_path / 'cache')!r}), 1 << 20)); "
        f"key = lambda scope: cache.key({int(QASM3)}, {PROGRAM!r}, {{'theta': 0.7}}, scope=scope); "
        "found = [cache.get(key(each)) for each in ('one', 'two')]; "
        "import qonduit_server; print([each is not None for each in found], qonduit_server.__file__)"
    )
    paths = [str(copied / root) for root in ("server", "clients/python", "generated/python")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"[True, False] {copied}")


@pytest.mark.parametrize("others", [0o620, 0o602])
def test_a_file_that_others_could_write_is_a_miss(tmp_path: Path, others: int) -> None:
    cache = kept(tmp_path)
    key = cache.key(QASM3, PROGRAM, {"theta": 0.7})
    cache.put(key, openqasm3_reader.read(PROGRAM, {"theta": 0.7}))
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(others)
    assert cache.get(key) is None
    path.chmod(0o600)
    assert cache.get(key) is not None


def test_a_file_of_another_user_or_of_any_size_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kept(tmp_path)
    key = cache.key(QASM3, PROGRAM, {"theta": 0.7})
    cache.put(key, openqasm3_reader.read(PROGRAM, {"theta": 0.7}))
    assert kept(tmp_path, most_bytes=1000).get(key) is None
    pipe = cache.key(QASM3, PROGRAM, {"theta": 0.8})
    entry = tmp_path / "cache" / pipe[:2] / pipe[2:]
    entry.parent.mkdir(exist_ok=True)
    os.mkfifo(entry)
    assert cache.get(pipe) is None
    monkeypatch.setattr(file_cache.os, "geteuid", lambda: os.getuid() + 1)
    assert cache.get(key) is None


def test_formulas_and_warnings_are_cached() -> None:
    formula = conjunction((parity((bit(0), bit(2))), negation(bit(1))))
    quantum = openqasm3_reader.read(
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c; c = measure q;'
    ).quantum
    circuit = Circuit(quantum, (ClassicalRegister("a", (2, formula)), ClassicalRegister("ä b", (0,))), ("careful",))
    data = serialization.dump(circuit)
    assert data is not None
    assert same(serialization.load(data), circuit)


@pytest.mark.parametrize(
    "circuit",
    [
        openqasm3_reader.read(
            'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; while (!c) { h q; c = measure q; }'
        ),
        openqasm2_reader.read(
            'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[70]; if(c==36893488147419103232) x q[0];'
        ),
    ],
)
def test_circuits_that_cannot_be_stored_exactly_are_not_cached(circuit: Circuit, tmp_path: Path) -> None:
    cache = kept(tmp_path)
    cache.put("ab" * 32, circuit)
    assert files(tmp_path) == []


@pytest.mark.usefixtures("always")
def test_a_second_process_does_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(read_and_keep, (str(tmp_path / "cache"),))
    assert len(files(tmp_path)) == 1
    languages = registry.Languages(kept(tmp_path))
    monkeypatch.setattr(languages, "_reader", lambda language: pytest.fail("read again"))
    found = languages.read(QASM3, PROGRAM, b"", {"theta": 0.7})
    assert [each.name for each in found.registers] == ["c", "d"]
    with pytest.raises(pytest.fail.Exception, match="read again"):
        languages.read(QASM3, PROGRAM, b"", {"theta": 0.8})


def read_and_keep(folder: str) -> None:
    registry._COSTLY_SECONDS = -1.0
    registry.Languages(TranslationCache(FileCache(Path(folder), 1 << 20))).read(QASM3, PROGRAM, b"", {"theta": 0.7})


def test_programs_that_are_read_quickly_are_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_COSTLY_SECONDS", 100.0)
    registry.Languages(kept(tmp_path)).read(QASM3, PROGRAM, b"", {"theta": 0.7})
    assert files(tmp_path) == []


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 5000])
def test_a_damaged_file_is_read_again(tmp_path: Path, damage: bytes) -> None:
    languages = registry.Languages(kept(tmp_path))
    first = languages.read(QASM3, PROGRAM, b"", {"theta": 0.7})
    (path,) = files(tmp_path)
    path.write_bytes(damage)
    assert same(languages.read(QASM3, PROGRAM, b"", {"theta": 0.7}), first)
    cache = kept(tmp_path)
    reread = cache.get(cache.key(QASM3, PROGRAM, {"theta": 0.7}))
    assert reread is not None
    assert same(reread, first)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert same(languages.read(QASM3, PROGRAM, b"", {"theta": 0.7}), first)


@pytest.mark.usefixtures("always")
def test_a_file_with_any_byte_changed_is_a_miss(tmp_path: Path) -> None:
    registry.Languages(kept(tmp_path)).read(QASM3, PROGRAM, b"", {"theta": 0.7})
    (path,) = files(tmp_path)
    good = path.read_bytes()
    cache = kept(tmp_path)
    key = cache.key(QASM3, PROGRAM, {"theta": 0.7})
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert cache.get(key) is None, place


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("error", [TypeError, RecursionError, MemoryError, AssertionError])
def test_a_form_that_cannot_be_loaded_is_a_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    languages = registry.Languages(kept(tmp_path))
    first = languages.read(QASM3, PROGRAM, b"", {"theta": 0.7})
    (path,) = files(tmp_path)

    def fails(data: bytes) -> Circuit:
        raise error("label expects a string or None")

    with monkeypatch.context() as patched:
        patched.setattr(serialization, "load", fails)
        assert kept(tmp_path).get(path.parent.name + path.name) is None
        assert files(tmp_path) == []
        assert same(languages.read(QASM3, PROGRAM, b"", {"theta": 0.7}), first)
    assert same(languages.read(QASM3, PROGRAM, b"", {"theta": 0.7}), first)


@pytest.mark.usefixtures("always")
def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands here")
    languages = registry.Languages(kept(tmp_path))
    assert languages.read(QASM3, PROGRAM, b"", {"theta": 0.7}).registers


def test_the_key_depends_on_all_inputs_of_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kept(tmp_path)
    keys = {cache.key(QASM3, "a", {}), cache.key(1, "a", {}), cache.key(QASM3, "b", {}), cache.key(QASM3, b"a", {})}
    keys |= {cache.key(QASM3, "a", {"x": 1.0}), cache.key(QASM3, "a", {"x": True}), cache.key(QASM3, "a", {"x": "1"})}
    assert cache.key(QASM3, "a", {"x": 1.0, "y": 2.0}) == cache.key(QASM3, "a", {"y": 2.0, "x": 1.0})
    monkeypatch.setattr(file_cache, "version", lambda library: "99")
    keys.add(kept(tmp_path).key(QASM3, "a", {}))
    assert len(keys) == 8


def test_the_least_recently_used_entries_are_evicted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_cache, "_LOOK_EVERY", 1)
    circuit = openqasm3_reader.read(PROGRAM, {"theta": 0.7})
    size = len(serialization.dump(circuit) or b"") + 32
    cache = kept(tmp_path, 10 * size)
    names = [f"{number:02}" * 32 for number in range(12)]
    for age, each in enumerate(names[:10]):
        cache.put(each, circuit)
        os.utime(tmp_path / "cache" / each[:2] / each[2:], (1000 + age, 1000 + age))
    assert cache.get(names[0]) is not None  # now the second is the least recently used
    cache.put(names[10], circuit)
    assert cache.get(names[0]) is not None
    assert cache.get(names[1]) is None
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 9 * size


def test_other_users_cannot_read_the_cache(tmp_path: Path) -> None:
    cache = kept(tmp_path)
    cache.put("ab" * 32, openqasm3_reader.read(PROGRAM, {"theta": 0.7}))
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    for folder in (tmp_path / "cache", path.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
