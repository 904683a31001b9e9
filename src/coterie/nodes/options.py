"""The settings of a node, whether the command line, the enclave's program or a test starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coterie.address import Address
from coterie.contract import Contract, Node
from coterie.errors import ContractInvalid

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class NodeOptions:
    """A node's settings from its host: untrusted, but checked by claims, signatures and vouchers.

    Attributes:
        data: The party's prepared or sealed data set, if the node owns data.
        sealed_only: Whether data in the clear is refused, since the host could have made it.
        out: Folder for checkpoints, the result and the trained model.
        memory: Folder for remembered checkpoints; by default ``out``.
        rollback_consent: All parties' consent to continue from an older checkpoint; parameter
            servers only.
        start: Folder of the files that the run starts from, at the node that sends them.
        compare_alone: Whether to train the party's own model after the run, and write to ``out``
            the gain from joining on the party's own test rows; workers only.
        listen: ``HOST:PORT`` in place of the contract's address.
        addresses: Addresses of other nodes, by name, in place of the contract's.
        party_key: The party's private key; in simulated contracts only.
        party_keys: Other parties' private keys, by party; in simulated contracts only.
        key_server: ``HOST:PORT`` of the party's key server: it vouches, and opens sealed data.
        key_servers: ``HOST:PORT`` of other parties' key servers, by party: each gives a parameter
            server its share of the key of sealed checkpoints.
        pccs_url: Address of a PCCS; in contracts for real TEEs only.
        kds_url: Address of AMD's key distribution service, or of a cache of it; in contracts with
            SEV-SNP only.
        td_quote_url: Address of the platform's service that makes TD quotes; for Azure guests above
            TDX only.
        tee_socket: Socket of Confidential Space's launcher, or of a program that speaks its protocol:
            where the contract demands tokens, or the launcher makes the node's quotes.
        collateral: Directory of collateral; in contracts for real TEEs only. Beside a
            service's address it keeps what that delivered.
        machine_root: Folder with this machine's ``dev`` and ``sys``, if a container has them elsewhere.
        metrics_port: Port of Prometheus metrics.
        metrics_host: Where they are served: loopback, unless a scraper cannot run beside the node.
        traces_to: Address of the OpenTelemetry collector that gets the node's traces.
    """

    data: Path | None = None
    sealed_only: bool = False
    out: Path | None = None
    memory: Path | None = None
    rollback_consent: Path | None = None
    start: Path | None = None
    compare_alone: bool = False
    listen: str | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    party_key: Path | None = None
    party_keys: Mapping[str, Path] = field(default_factory=dict)
    key_server: str | None = None
    key_servers: Mapping[str, str] = field(default_factory=dict)
    pccs_url: str | None = None
    kds_url: str | None = None
    td_quote_url: str | None = None
    tee_socket: Path | None = None
    collateral: Path | None = None
    machine_root: Path = Path("/")
    metrics_port: int | None = None
    metrics_host: str = LOOPBACK
    traces_to: str | None = None


def check_addresses(contract: Contract, node: Node, options: NodeOptions) -> None:
    """Checks the addresses of a node, before attempts to connect take minutes.

    Raises:
        ContractInvalid: The contract has no such node, the node does not listen, or an address is
            malformed.
    """
    listening = sorted(one.name for one in contract.nodes if contract.listens(one))
    for name, address in options.addresses.items():
        if name not in listening:
            known = name in contract.node_names
            raise ContractInvalid(
                f"node {name} only dials out: nobody dials it"
                if known
                else f"the contract has no node {name[:100]!r}",
                expected=f"one of {', '.join(listening)}"[:300],
                seen=name[:100],
                remedy="give --address with the name of a node that listens",
            )
        _check_dialled(address)
    for server in (options.key_server, *options.key_servers.values()):
        if server is not None:
            _check_dialled(server)
    listen = Address.parse(options.listen) if options.listen is not None else node.address
    if listen is not None:
        listen.following()


def check_comparable(contract: Contract, node: Node, options: NodeOptions) -> None:
    """Checks that a node can compare the joint model with its party's own, as requested.

    Raises:
        ContractInvalid: It is not a worker of mode ``hfl``, keeps no files, or the run has a start.
    """
    if not options.compare_alone:
        return
    out = options.out
    anew = contract.start is None
    if contract.mode == "hfl" and node.role == "worker" and out is not None and anew:
        return
    raise ContractInvalid(
        f"node {node.name} has nothing to compare the joint model with",
        expected="a worker of a contract of mode hfl that begins anew, and a directory for what it finds",
        seen=f"a {node.role} of a contract of mode {contract.mode}, "
        + ("no directory" if out is None else "a directory")
        + ("" if anew else ", and a [start]: the joint model knows more than this run's rows"),
        remedy="leave --compare-alone away, or give it to a company's worker with --out DIR",
    )


def check_share_options(contract: Contract, node: Node, options: NodeOptions) -> None:
    """Refuses other parties' key servers and keys if they have no meaning.

    Raises:
        ContractInvalid: The node is not a parameter server, or a party is not in the contract.
    """
    named = {**options.key_servers, **options.party_keys}
    if not named:
        return
    if node.role != "ps":
        raise ContractInvalid(
            f"node {node.name} needs its own party's key server or key only",
            expected="PARTY= on parameter servers, which take a share from every party",
            seen=f"{', '.join(sorted(named))} at a {node.role}"[:300],
            remedy="give --key-server HOST:PORT or --party-key FILE of its own party",
        )
    for party in sorted(named):
        contract.party(party)


def check_start_giver(contract: Contract, node: Node, options: NodeOptions) -> None:
    """Refuses a start at a node that does not send it.

    Raises:
        ContractInvalid: The contract names another node, or has no start.
    """
    giver = contract.start_giver()
    if options.start is None or node == giver:
        return
    raise ContractInvalid(
        f"node {node.name} does not give the model that the run starts from",
        expected=f"--start at {giver.name}" if giver else "no --start: the contract has no [start]",
        seen=f"--start at {node.name}",
        remedy="leave --start away here",
    )


def _check_dialled(text: str) -> None:
    address = Address.parse(text)
    if not address.port:
        raise ContractInvalid(
            f"nobody listens at {address}",
            expected="the port that the other one listens on",
            seen="0",
            remedy="its log names the port that the system chose for it (`Listening`)",
        )
