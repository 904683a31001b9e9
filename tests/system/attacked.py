"""A TensorFlow cluster of several companies whose nodes have secrets: what attacks would get."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from coterie.contract import load_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.contract.tensorflow_operations import HARMLESS
from faults.loopback import free_address
from tests.system.clusters import (
    CONTRACT,
    PROGRAMS,
    ClusterNode,
)
from tests.system.conftest import coterie

ATTACKS = PROGRAMS / "attacks.py"


class Attacked:
    """A folder with each node's secret, in a cluster whose contract allows all operations that it may allow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.of = {name: secrets.token_hex(7) for name in ("ps0", "worker0", "worker1")}
        for name, secret in self.of.items():
            (folder / name).write_text(secret)
        allowed = ", ".join(f'"{one}"' for one in sorted(HARMLESS))
        text = re.sub(
            r"operations = \[.*?\]",
            f"operations = [{allowed}]",
            CONTRACT.read_text(),
            flags=re.DOTALL,
        )
        self.key = folder / "party.pem"
        public = public_key_text(generate_party_key(self.key))
        for party in ("host", "acme", "bolt"):
            text = text.replace(f'name = "{party}"', f'name = "{party}"\nkey = "{public}"')
        measured = coterie("tensorflow", "measure", ATTACKS)
        text = text.replace("[tensorflow]\n", measured.stdout)
        self.file = folder / "contract.toml"
        self.file.write_text(text.replace("127.0.0.1:7440", free_address()))
        self.contract = load_contract(self.file)
        self._started: list[ClusterNode] = []

    def start(self, name: str) -> ClusterNode:
        """Starts a node."""
        node = ClusterNode(self.file, name, ATTACKS, key=self.key, arguments=[str(self.folder)])
        self._started.append(node)
        return node

    def close(self) -> None:
        """Ends all nodes."""
        for node in self._started:
            node.close()


def refusal(node: ClusterNode) -> str:
    """The reason of the next refusal that a node tells."""
    return reason_of(node.event("Refused"))


def reason_of(told: dict[str, object]) -> str:
    """The reason of a refused call, without its remedy."""
    assert told["error"] == "CallRefused"
    return str(told["reason"]).partition("; remedy: ")[0]
