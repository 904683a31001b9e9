"""What runs on sealed data need: signed contracts, sealed data sets, key servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.contract import parse_contract
from tests.system.conftest import Federation, coterie, environment

DEMAND = '[trust]\ntee = "simulated"\ndemand_signatures = true'
PARTIES = ("operator", "acme", "bolt")


class KeyServer:
    """A key server in the background."""

    def __init__(self, arguments: list[str | Path]) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "coterie",
                "keyserver",
                *map(str, arguments),
                "--log-format",
                "json",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"the key server ended: {self.process.communicate()[1]}")
        self.address = str(json.loads(line)["address"])

    def end(self) -> list[dict[str, str]]:
        """Ends it in good order; what it told."""
        self.process.terminate()
        told, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        return [json.loads(line) for line in told.splitlines()]


def demanding(federation: Federation, *trust: str) -> Federation:
    """The same under a contract that demands signatures, and has them; more lines for [trust]."""
    text = federation.text.replace('[trust]\ntee = "simulated"', "\n".join((DEMAND, *trust)))
    assert text != federation.text
    federation.text = text
    federation.contract = federation.write("contract.toml", text)
    for party in parse_contract(text.encode(), "signed").parties:
        sign(federation, party.name)
    return federation


def sign(federation: Federation, party: str) -> None:
    done = coterie(
        "contract", "sign", federation.contract, "--key", federation.key(party), "--party", party
    )
    assert done.returncode == 0, done.stderr


def seal(federation: Federation, party: str) -> Path:
    out = federation.folder / f"{party}-sealed"
    done = coterie(
        *("seal", federation.data / party, out, "--to", federation.contract),
        *("--party", party, "--key", federation.folder / f"{party}-data.key"),
    )
    assert done.returncode == 0, done.stderr
    return out


def seal_key(federation: Federation, party: str) -> Path:
    """The key that a party's trained model will be sealed under."""
    path = federation.folder / f"{party}-model.key"
    done = coterie("seal-key", path, "--party", party)
    assert done.returncode == 0, done.stderr
    return path


def policy_of(federation: Federation, party: str) -> Path:
    """A policy that gives out every key that the party has made."""
    text = f'format = 1\nparty = "{party}"\ncontract = "contract.toml"\n'
    if (federation.folder / f"{party}-data.key").exists():
        role = "chief" if 'mode = "sdt"' in federation.text else "worker"
        text += f'[[data]]\nkey = "{party}-data.key"\nroles = ["{role}"]\n'
    if (federation.folder / f"{party}-model.key").exists():
        text += f'[model]\nkey = "{party}-model.key"\n'
    return federation.write(f"{party}-policy.toml", text)


class KeyServers:
    """Starts key servers; what is left of them is ended."""

    def __init__(self) -> None:
        self._started: list[KeyServer] = []

    def __call__(self, federation: Federation, party: str) -> KeyServer:
        log = federation.folder / f"{party}-log.jsonl"
        arguments: list[str | Path] = [policy_of(federation, party)]
        arguments += ["--party-key", federation.key(party)]
        self._started.append(KeyServer([*arguments, "--listen", "127.0.0.1:0", "--log", log]))
        return self._started[-1]

    def close(self) -> None:
        for server in self._started:
            if server.process.poll() is None:
                server.process.kill()
                server.process.communicate()
