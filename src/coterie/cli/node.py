"""``coterie node``: one node of a contract, attested, on this machine."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli.logs import line_of
from coterie.cli.options import (
    ContractFile,
    EndWithParent,
    KdsUrl,
    Listen,
    MetricsPort,
    NodeName,
    OtherAddresses,
    PccsUrl,
    TdQuoteUrl,
    TeeSocket,
    TensorBoard,
)
from coterie.errors import ContractInvalid

if TYPE_CHECKING:
    from coterie.runs.events import EventSink

_PARTY = re.compile(r"[a-z0-9-]{1,63}")


def node(
    contract_file: ContractFile,
    name: NodeName,
    *,
    data: Annotated[
        Path | None, typer.Option("--data", help="The party's own prepared data set.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for checkpoints, the node's memory of them, and the trained model.",
        ),
    ] = None,
    listen: Listen = None,
    address: OtherAddresses = None,
    party_key: Annotated[
        list[str] | None,
        typer.Option(
            "--party-key",
            metavar="[PARTY=]FILE",
            help="The party's private key (simulated contracts only); on a parameter server that "
            "seals its checkpoints also other parties', as PARTY=FILE.",
        ),
    ] = None,
    key_server: Annotated[
        list[str] | None,
        typer.Option(
            "--key-server",
            metavar="[PARTY=]HOST:PORT",
            help="The party's key server: it vouches for this node, and opens sealed data. On a "
            "parameter server that seals its checkpoints also other parties', as PARTY=HOST:PORT.",
        ),
    ] = None,
    pccs_url: PccsUrl = None,
    kds_url: KdsUrl = None,
    td_quote_url: TdQuoteUrl = None,
    tee_socket: TeeSocket = None,
    collateral: Annotated[
        Path | None,
        typer.Option(
            help="Directory that `coterie attest fetch` filled; with --pccs-url, what that delivers is kept in it (real TEEs only).",
            file_okay=False,
        ),
    ] = None,
    rollback_consent: Annotated[
        Path | None,
        typer.Option(
            help="All parties' consent to continue from an older checkpoint, as `coterie contract "
            "rollback` writes it (parameter servers only)."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="DIR",
            help="The model from which the run starts, at the node that the contract's section start names: the folder "
            "of a run or node with model.coterie and optimizer.coterie, or both sealed.",
            file_okay=False,
        ),
    ] = None,
    machine_root: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where this machine's dev and sys are, if a container has them elsewhere (real TEEs only).",
            file_okay=False,
        ),
    ] = Path("/"),
    metrics_port: MetricsPort = None,
    metrics_host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Serve metrics there, in the clear, if the scraper cannot run beside the node.",
        ),
    ] = "127.0.0.1",
    traces_to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Send traces of steps and handshakes to this OpenTelemetry collector, if the contract allows it (OTLP over https).",
        ),
    ] = None,
    compare_alone: Annotated[
        bool,
        typer.Option(
            "--compare-alone",
            help="HFL workers: afterwards also train on this party's data alone, and write to --out what joining was worth on its own test rows. Nothing of this is sent.",
        ),
    ] = False,
    tensorboard: TensorBoard = None,
    end_with_parent: EndWithParent = False,
) -> None:
    """Run one node of a contract; nodes wait for each other, whichever is started first.

    SIGTERM ends it at once, with exit code 143; the same command continues.

    Example: coterie node examples/hfl.toml acme-worker --data prepared/acme --party-key acme.pem
    """
    from coterie.contract import load_contract
    from coterie.nodes.options import NodeOptions
    from coterie.nodes.process import end_with_parent as watch_parent
    from coterie.nodes.starting import start_node
    from coterie.runs.event_log import all_of, event_log, printed

    if end_with_parent:
        watch_parent()
    contract = load_contract(contract_file)
    own_key, keys = _own_and_others("--party-key", party_key or [])
    own_server, servers = _own_and_others("--key-server", key_server or [])
    # under `coterie run` the parent process keeps the log and makes the report
    keeps = out is not None and not end_with_parent
    with ExitStack() as stack:
        sinks: list[EventSink] = []
        if out is not None and keeps:
            sinks.append(stack.enter_context(event_log(out)))
        if tensorboard is not None:
            from coterie.cli.report import tensorboard_sink

            sinks.append(stack.enter_context(tensorboard_sink(tensorboard)))
        start_node(
            contract,
            contract_file,
            name,
            NodeOptions(
                data=data,
                out=out,
                rollback_consent=rollback_consent,
                start=start,
                compare_alone=compare_alone,
                listen=listen,
                addresses=addresses_of(address or []),
                party_key=Path(own_key) if own_key is not None else None,
                party_keys={party: Path(path) for party, path in keys.items()},
                key_server=own_server,
                key_servers=servers,
                pccs_url=pccs_url,
                kds_url=kds_url,
                td_quote_url=td_quote_url,
                tee_socket=tee_socket,
                collateral=collateral,
                machine_root=machine_root,
                metrics_port=metrics_port,
                metrics_host=metrics_host,
                traces_to=traces_to,
            ),
            tell=all_of(*sinks, printed(line_of)),
        )
    if out is not None and keeps:
        from coterie.cli.report import leave_node_report

        leave_node_report(out)


def _own_and_others(option: str, values: list[str]) -> tuple[str | None, dict[str, str]]:
    """The values for the node's own party, and those for others by name."""
    own: list[str] = []
    others: dict[str, str] = {}
    for value in values:
        party, equals, rest = value.partition("=")
        if equals and _PARTY.fullmatch(party):
            if party in others:
                raise _twice(option, party)
            others[party] = rest
        else:
            own.append(value)
    if len(own) > 1:
        raise _twice(option, "the node's own party")
    return (own[0] if own else None), others


def _twice(
    option: str,
    name: str,
    remedy: str = "for other parties than the node's own write PARTY= before the value",
) -> ContractInvalid:
    return ContractInvalid(
        f"{option} is given twice for {name}",
        expected="one",
        seen="two",
        remedy=remedy,
    )


def addresses_of(pairs: list[str]) -> dict[str, str]:
    """Reads NAME=HOST:PORT pairs.

    Raises:
        ContractInvalid: One of them is not such a pair, or a node is named twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, address = pair.partition("=")
        if name in found:
            raise _twice("--address", name, "leave one of them away")
        found[name] = address
        if not equals:
            raise ContractInvalid(
                "an --address is malformed",
                expected="NAME=HOST:PORT",
                seen=pair,
                remedy="give the node's name, = and where it listens",
            )
    return found
