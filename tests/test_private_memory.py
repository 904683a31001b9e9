"""Processes with keys leave no core, and nobody of their user looks into them: real processes, really tried."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import pytest

from coterie.contract.signatures import generate_party_key, public_key_text
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.system


ROOT = REPOSITORY
CONTRACT = """
format = 1
name = "tiny"
mode = "hfl"
parties = [{{name = "acme", key = "{key}"}}, {{name = "bolt", key = "{key}"}}]
nodes = [
  {{name = "ps0", role = "ps", party = "acme", address = "127.0.0.1:0"}},
  {{name = "w1", role = "worker", party = "acme"}},
  {{name = "w2", role = "worker", party = "bolt"}},
]
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
SAYS_ALL = """
import ctypes, resource, sys
from coterie.private_memory import keep_memory_private
prctl = ctypes.CDLL(None).prctl
before = prctl(3, 0, 0, 0, 0)
keep_memory_private()
print(before, prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""
# The enclave's program, here without inputs: it ends with an error, and has seen to its memory before.
ENCLAVE = """
import ctypes, resource, sys
from pathlib import Path
from coterie.enclave.__main__ import main
code = main([], root=Path(sys.argv[1]))
print(code, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""
LOOKS = """
import sys
for name in ("mem", "environ", "maps"):
    try:
        open(f"/proc/{sys.argv[1]}/{name}", "rb").read(1 if name == "mem" else -1)
    except PermissionError:
        print("refused", name)
    except OSError:
        print("opened", name)
    else:
        print("read", name)
"""
# Root may look into anything by its capabilities: without them it is a user like any other (24:
# PR_CAPBSET_DROP; for other users there is nothing to drop, and it fails).
LIKE_ANY_USER = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    key = generate_party_key(tmp_path / "party.pem")
    (tmp_path / "contract.toml").write_text(CONTRACT.format(key=public_key_text(key)))
    (tmp_path / "policy.toml").write_text(
        'format = 1\nparty = "acme"\ncontract = "contract.toml"\n'
    )
    return tmp_path


@contextmanager
def started(arguments: list[str], folder: Path, *, until: str) -> Iterator[subprocess.Popen[str]]:
    """A process that may leave cores as large as it likes, once it has said a word; killed in the end."""
    shell = ["/bin/sh", "-c", 'ulimit -S -c $(ulimit -H -c) && exec "$@"', "sh", *arguments]
    with subprocess.Popen(
        [sys.executable, "-c", LIKE_ANY_USER, *shell],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            said = list(takewhile(lambda line: until not in line, process.stdout))
            assert process.poll() is None, "".join(said)
            yield process
        finally:
            process.kill()


def look_into(process: subprocess.Popen[str]) -> list[str]:
    """What another process of the same user gets to see."""
    looked = subprocess.run(
        [sys.executable, "-c", LIKE_ANY_USER, sys.executable, "-c", LOOKS, str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return looked.stdout.splitlines()


def module(*words: str) -> list[str]:
    return [sys.executable, "-m", "coterie", *words]


KEYSERVER = module(
    *("keyserver", "policy.toml", "--party-key", "party.pem"),
    *("--listen", "127.0.0.1:0", "--log", "log.jsonl"),
)
SERVER = module(
    *("node", "contract.toml", "ps0", "--party-key", "party.pem", "--listen", "127.0.0.1:0"),
    *("--out", "out"),
)


@pytest.mark.parametrize(
    ("arguments", "until"),
    [(KEYSERVER, "Listening"), (SERVER, "listens on")],
    ids=["key server", "parameter server"],
)
class TestAProcessWithKeys:
    def test_nobody_of_its_user_looks_into_it(
        self, arguments: list[str], until: str, folder: Path
    ) -> None:
        with started(arguments, folder, until=until) as process:
            assert look_into(process) == ["refused mem", "refused environ", "refused maps"]

    def test_it_leaves_no_core(self, arguments: list[str], until: str, folder: Path) -> None:
        if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
            pytest.skip("no process here may leave a core")
        with started(arguments, folder, until=until) as process:
            limits = Path(f"/proc/{process.pid}/limits").read_text()
            process.send_signal(signal.SIGSEGV)
            _, status = os.waitpid(process.pid, 0)
            process.returncode = -signal.SIGSEGV
        assert os.WTERMSIG(status) == signal.SIGSEGV
        assert not os.WCOREDUMP(status)
        assert not list(folder.glob("core*"))
        (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]


def test_a_process_that_does_nothing_of_the_kind_can_be_looked_into(folder: Path) -> None:
    """So the tests above would see it."""
    sleeper = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
    with started(sleeper, folder, until="here") as process:
        assert "read environ" in look_into(process)


# A sandbox in which prctl(PR_SET_DUMPABLE) fails: a filter of system calls (seccomp(2)), kept over execve.
SANDBOXED = """
import ctypes, os, platform, struct, sys
prctl = ctypes.CDLL(None, use_errno=True).prctl
number = {"x86_64": 157, "aarch64": 167}[platform.machine()]
load, equal, answer = 0x20, 0x15, 0x06
steps = (
    (load, 0, 0, 0), (equal, 0, 3, number),  # another system call than prctl: allowed
    (load, 0, 0, 16), (equal, 0, 1, 4),  # its first argument is another than PR_SET_DUMPABLE: allowed
    (answer, 0, 0, 0x00050001), (answer, 0, 0, 0x7FFF0000),  # EPERM; allowed
)
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
filter = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))
assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert prctl(22, 2, filter, 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("keyserver", "policy.toml", "--party-key", "party.pem"), 7, "keep its memory to itself"),
        (("-v", "node", "contract.toml", "ps0"), 7, "keep its memory to itself"),
        (("tensorflow", "node", "c.toml", "w", "p.py"), 7, "keep its memory to itself"),
        (("contract", "show", "contract.toml"), 0, "contract tiny"),
    ],
    ids=["key server", "node", "tensorflow", "a look at a contract"],
)
def test_what_holds_keys_does_not_start_where_it_cannot_be_had(
    words: tuple[str, ...], code: int, said: str, folder: Path
) -> None:
    done = sandboxed(words, folder)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def sandboxed(words: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SANDBOXED, *module(*words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


def test_a_verb_that_may_read_a_key_warns_once_and_goes_on(folder: Path) -> None:
    done = sandboxed(
        ("contract", "sign", "contract.toml", "--party", "acme", "--key", "party.pem"), folder
    )
    assert done.returncode == 0
    warning, *rest = done.stderr.splitlines()
    assert warning.startswith("warning: this process cannot keep its memory to itself")
    assert not any("memory" in line for line in rest)


@pytest.mark.parametrize("words", [(), ("--version",), ("contract", "sign", "--help")])
def test_what_only_shows_help_says_nothing_of_it(words: tuple[str, ...], folder: Path) -> None:
    assert "memory" not in sandboxed(words, folder).stderr


@pytest.mark.parametrize(
    ("program", "said"),
    [(SAYS_ALL, "1 0 (0, 0)\n"), (ENCLAVE, "7 0 (0, 0)\n")],
    ids=["itself", "enclave"],
)
def test_a_process_says_so_of_itself(program: str, said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout == said


def test_the_enclaves_program_warns_and_goes_on(tmp_path: Path) -> None:
    """A library OS may not know the call; what it keeps out, the enclave keeps out anyway."""
    done = subprocess.run(
        [sys.executable, "-c", SANDBOXED, sys.executable, "-c", ENCLAVE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout == "7 1 (0, 0)\n"
    assert done.stderr.startswith("warning: this process cannot keep its memory to itself")
