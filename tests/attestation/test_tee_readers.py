"""The Gramine and TDX readers against file trees that behave, and misbehave, as the kernel's do."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coterie.attestation.tee.files import SystemFiles
from coterie.attestation.tee.gramine import GramineTee
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, TdFields, sgx_quote, tdx_quote
from coterie.attestation.tee.tdx import TdxTee
from coterie.errors import EnvironmentUnfit

DATA = bytes(range(64))
PKI = SimulatedPki()


def sgx(report_data: bytes) -> bytes:
    return sgx_quote(PKI, EnclaveFields(mrenclave=b"\1" * 32, report_data=report_data))


def tdx(report_data: bytes) -> bytes:
    return tdx_quote(PKI, TdFields(mrtd=b"\1" * 48, report_data=report_data).encode())


@dataclass
class GramineTree:
    """Gramine's pseudo-files: report data is process-global and padded with zeros."""

    take: int = 64
    error: dict[str, int] = field(default_factory=dict)
    quote: Callable[[bytes], bytes] = sgx
    report_data: bytes = bytes(64)
    inside: int = 0

    def write(self, path: Path, data: bytes) -> int:
        self._fail(path)
        assert path == Path("/dev/attestation/user_report_data")
        self.report_data = data[: self.take].ljust(64, b"\0")
        return min(self.take, len(data))

    def read(self, path: Path, limit: int) -> bytes:
        self._fail(path)
        if path.name == "my_target_info":
            return (b"\1" * 32).ljust(512, b"\0")
        assert path == Path("/dev/attestation/quote")
        return self.quote(self.report_data)[:limit]

    def make_directory(self, path: Path) -> None:
        raise OSError(errno.EPERM, "not here", str(path))

    def remove_directory(self, path: Path) -> None:
        raise OSError(errno.EPERM, "not here", str(path))

    def _fail(self, path: Path) -> None:
        if number := self.error.get(path.name):
            raise OSError(number, "injected")


def test_gramine_makes_a_quote_over_the_report_data() -> None:
    tee = GramineTee(files=GramineTree())
    assert tee.quote(DATA) == sgx(DATA)
    assert tee.kind == "sgx"
    assert tee.describe().measurement == "01" * 32


def test_gramine_padding_is_cut_off() -> None:
    tree = GramineTree(quote=lambda data: sgx(data) + bytes(100))
    assert GramineTee(files=tree).quote(DATA) == sgx(DATA)


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        (GramineTree(take=32), "took a part of the report data"),
        (GramineTree(take=0), "took a part of the report data"),
        (GramineTree(error={"user_report_data": errno.ENOENT}), "failed to take report data"),
        (GramineTree(error={"user_report_data": errno.EACCES}), "failed to take report data"),
        (GramineTree(error={"quote": errno.EIO}), "failed to make a quote"),
        (GramineTree(error={"quote": errno.EPERM}), "failed to make a quote"),
        (GramineTree(quote=lambda _: b""), "gave no usable quote"),
        (GramineTree(quote=lambda data: sgx(data)[:-7]), "gave no usable quote"),
        (GramineTree(quote=lambda _: bytes(100_000)), "gave no usable quote"),
        (GramineTree(quote=lambda _: sgx(bytes(64))), "gave a quote over something else"),
    ],
)
def test_gramine_failures_are_told(tree: GramineTree, what: str) -> None:
    with pytest.raises(EnvironmentUnfit, match=what) as failure:
        GramineTee(files=tree).quote(DATA)
    assert failure.value.remedy


def test_gramine_without_target_info_has_no_measurement() -> None:
    tree = GramineTree(error={"my_target_info": errno.ENOENT})
    assert GramineTee(files=tree).describe().measurement is None


def test_gramine_quotes_of_many_threads_do_not_mix() -> None:
    tee = GramineTee(files=GramineTree())
    wanted = [bytes([i]) * 64 for i in range(16)]
    got: dict[bytes, bytes] = {}

    def ask(data: bytes) -> None:
        got[data] = tee.quote(data)

    threads = [threading.Thread(target=ask, args=(data,)) for data in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {data: sgx(data) for data in wanted}


def test_report_data_of_another_length_is_a_defect() -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        GramineTee(files=GramineTree()).quote(b"short")
    with pytest.raises(ValueError, match="64 bytes"):
        TdxTee(files=TsmTree()).quote(b"short")


@dataclass
class TsmTree:
    """configfs-tsm: directories with files, a generation that counts writes, EBUSY on races."""

    provider: bytes = b"tdx_guest\n"
    take: int = 64
    errors: dict[str, list[int]] = field(default_factory=dict)
    intruders: int = 0
    quote: Callable[[bytes], bytes] = tdx
    generation_text: bytes | None = None
    entries: dict[Path, tuple[int, bytes]] = field(default_factory=dict)
    removed: int = 0

    def make_directory(self, path: Path) -> None:
        self._fail("mkdir")
        assert path.parent == Path("/sys/kernel/config/tsm/report")
        if path in self.entries:
            raise OSError(errno.EEXIST, "exists")
        self.entries[path] = (0, b"")

    def remove_directory(self, path: Path) -> None:
        self._fail("rmdir")
        del self.entries[path]
        self.removed += 1

    def write(self, path: Path, data: bytes) -> int:
        self._fail(path.name)
        assert path.name == "inblob"
        generation, _ = self.entries[path.parent]
        self.entries[path.parent] = (generation + 1, data[: self.take])
        return min(self.take, len(data))

    def read(self, path: Path, limit: int) -> bytes:
        self._fail(path.name)
        generation, data = self.entries[path.parent]
        if path.name == "provider":
            return self.provider[:limit]
        if path.name == "generation":
            return self.generation_text or f"{generation}\n".encode()
        assert path.name == "outblob"
        if self.intruders:
            self.intruders -= 1
            self.entries[path.parent] = (generation + 1, bytes(64))
            return self.quote(bytes(64))
        return self.quote(data)[:limit]

    def _fail(self, name: str) -> None:
        if pending := self.errors.get(name):
            raise OSError(pending.pop(0), "injected")


def test_tdx_makes_a_quote_over_the_report_data() -> None:
    tree = TsmTree()
    tee = TdxTee(files=tree)
    assert tee.quote(DATA) == tdx(DATA)
    assert tee.kind == "tdx"
    assert tee.describe().kind == "tdx"
    assert (tree.removed, tree.entries) == (1, {})


@pytest.mark.parametrize(
    "tree",
    [
        TsmTree(intruders=4),
        TsmTree(errors={"mkdir": [errno.EEXIST, errno.EBUSY]}),
        TsmTree(errors={"outblob": [errno.EBUSY, errno.EINTR]}),
        TsmTree(errors={"inblob": [errno.EBUSY]}),
        TsmTree(errors={"rmdir": [errno.EBUSY]}),
    ],
)
def test_tdx_survives_races(tree: TsmTree) -> None:
    assert TdxTee(files=tree).quote(DATA) == tdx(DATA)


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        (TsmTree(intruders=99), "busy"),
        (TsmTree(errors={"mkdir": [errno.ENOENT]}), "failed to open a report"),
        (TsmTree(errors={"mkdir": [errno.EACCES]}), "failed to open a report"),
        (TsmTree(provider=b"sev_guest\n"), "another kind of TEE"),
        (TsmTree(take=32), "took a part of the report data"),
        (TsmTree(errors={"outblob": [errno.EIO]}), "failed to make a quote"),
        (TsmTree(errors={"outblob": [errno.ETIMEDOUT]}), "failed to make a quote"),
        (TsmTree(errors={"provider": [errno.ENOENT]}), "failed to make a quote"),
        (TsmTree(generation_text=b"many"), "gave no generation"),
        (TsmTree(quote=lambda _: b""), "gave no usable quote"),
        (TsmTree(quote=lambda _: tdx(bytes(64))), "over something else"),
    ],
)
def test_tdx_failures_are_told(tree: TsmTree, what: str) -> None:
    with pytest.raises(EnvironmentUnfit, match=what) as failure:
        TdxTee(files=tree).quote(DATA)
    assert failure.value.remedy
    assert tree.entries == {}


def test_system_files_do_single_calls_on_real_files(tmp_path: Path) -> None:
    files = SystemFiles()
    folder = tmp_path / "dev" / "attestation"
    folder.mkdir(parents=True)
    (folder / "user_report_data").write_bytes(b"")
    (folder / "quote").write_bytes(sgx(DATA) + bytes(2_000))
    assert GramineTee(tmp_path, files=files).quote(DATA) == sgx(DATA)
    assert (folder / "user_report_data").read_bytes() == DATA
    assert files.read(folder / "quote", 10) == sgx(DATA)[:10]
    files.make_directory(tmp_path / "new")
    files.remove_directory(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_missing_devices_are_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match="failed to take report data") as failure:
        GramineTee(tmp_path).quote(DATA)
    assert "ENOENT" in failure.value.seen
    with pytest.raises(EnvironmentUnfit, match="failed to open a report"):
        TdxTee(tmp_path).quote(DATA)
