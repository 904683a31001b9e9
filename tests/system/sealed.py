"""What runs on sealed data need: signed contracts, sealed data sets, key servers."""

from __future__ import annotations

from pathlib import Path

from coterie.contract import parse_contract
from tests.system.conftest import Federation, coterie
from tests.system.threads import ThreadKeyServer

DEMAND = '[trust]\ntee = "simulated"\ndemand_signatures = true'
PARTIES = ("operator", "acme", "bolt")


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


def policy_of(federation: Federation, party: str, more: str = "") -> Path:
    """A policy that gives out every key that the party has made; more sections after that."""
    text = f'format = 1\nparty = "{party}"\ncontract = "contract.toml"\n'
    if (federation.folder / f"{party}-data.key").exists():
        role = "chief" if 'mode = "sdt"' in federation.text else "worker"
        text += f'[[data]]\nkey = "{party}-data.key"\nroles = ["{role}"]\n'
    if (federation.folder / f"{party}-model.key").exists():
        text += f'[model]\nkey = "{party}-model.key"\n'
    return federation.write(f"{party}-policy.toml", text + more)


class KeyServers:
    """Starts key servers; what is left of them is ended."""

    def __init__(self) -> None:
        self._started: list[ThreadKeyServer] = []

    def __call__(self, federation: Federation, party: str, more: str = "") -> ThreadKeyServer:
        log = federation.folder / f"{party}-log.jsonl"
        policy = policy_of(federation, party, more)
        self._started.append(ThreadKeyServer(policy, federation.key(party), log))
        return self._started[-1]

    def close(self) -> None:
        for server in self._started:
            server.end()
