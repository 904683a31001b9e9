"""``coterie tensorflow``: a TensorFlow cluster program over attested sockets."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from coterie.cli.logs import line_of
from coterie.cli.node import addresses_of
from coterie.cli.options import (
    AsJson,
    CollateralFolder,
    ContractFile,
    EndWithParent,
    KdsUrl,
    KeyServer,
    Listen,
    MetricsPort,
    NodeName,
    OtherAddresses,
    PccsUrl,
    TdQuoteUrl,
    TeeSocket,
)

app = typer.Typer(
    name="tensorflow",
    help="Run a TensorFlow cluster program, attested: any of one owner's, or HFL by between-graph replication.",
    no_args_is_help=True,
)


ProgramFile = Annotated[
    Path, typer.Argument(metavar="PROGRAM", help="The program of every node, a Python file.")
]

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ARGS]...", help="The program's arguments, after `--`."),
]


@app.command()
def run(
    contract_file: ContractFile,
    program_file: ProgramFile,
    arguments: Arguments = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="What `coterie prepare` wrote, one folder per party: its programs read COTERIE_DATA.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Keep what the nodes write, checkpoints among it, in this directory: a new one, or that of a run that failed.",
        ),
    ] = None,
) -> None:
    """Start every node of the contract on this machine; end when the chief's or the workers' programs have ended.

    Example: coterie tensorflow run examples/tensorflow/cluster.toml examples/tensorflow/dlrm_in_graph.py
    """
    from coterie.cli import console
    from coterie.contract import load_contract
    from coterie.tensorflow.digests import read_program
    from coterie.tensorflow.local import run_cluster

    contract = load_contract(contract_file)
    program = read_program(program_file)

    def say(text: str) -> None:
        console.err.print(text, markup=False, highlight=False, soft_wrap=True)

    owners = [one.name for one in contract.data_owners()]

    def printed(node: str, line: str) -> None:
        if owners == [node]:
            typer.echo(line)
        elif node in owners:
            typer.echo(f"{node}: {line}")
        else:
            say(f"{node}: {line}")

    run_cluster(contract, program, arguments or [], out, data=data, say=say, printed=printed)


@app.command()
def node(
    contract_file: ContractFile,
    name: NodeName,
    program_file: ProgramFile,
    arguments: Arguments = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="The party's own prepared or sealed data set, for the program: it reads COTERIE_DATA.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the node's events, the checkpoints that the program keeps at this node, and at the first server (or the chief) the receipt.",
        ),
    ] = None,
    listen: Listen = None,
    address: OtherAddresses = None,
    party_key: Annotated[
        Path | None,
        typer.Option(
            "--party-key",
            metavar="FILE",
            help="The party's private key (simulated contracts only).",
        ),
    ] = None,
    key_server: KeyServer = None,
    pccs_url: PccsUrl = None,
    kds_url: KdsUrl = None,
    td_quote_url: TdQuoteUrl = None,
    tee_socket: TeeSocket = None,
    collateral: CollateralFolder = None,
    metrics_port: MetricsPort = None,
    end_with_parent: EndWithParent = False,
    inherited: Annotated[
        str | None, typer.Option("--inherited", help="Two listening descriptors.", hidden=True)
    ] = None,
) -> None:
    """Run one node of a TensorFlow cluster: PORT is for attestation, PORT + 1 for TensorFlow.

    A node without an address only dials out; the others reach it through connections that it opened.

    Example: coterie tensorflow node cluster.toml worker0 train.py --party-key owner.pem
    """
    from coterie.contract import load_contract
    from coterie.contract.signatures import valid_signatures
    from coterie.nodes.options import NodeOptions, check_addresses
    from coterie.runs.event_log import all_of, event_log, printed
    from coterie.tensorflow.node import Start, agreed_program, run_node

    contract = load_contract(contract_file)
    entry = contract.node(name)
    options = NodeOptions(
        data=data,
        out=out,
        listen=listen,
        addresses=addresses_of(address or []),
        party_key=party_key,
        pccs_url=pccs_url,
        kds_url=kds_url,
        td_quote_url=td_quote_url,
        tee_socket=tee_socket,
        collateral=collateral,
        key_server=key_server,
        metrics_port=metrics_port,
    )
    check_addresses(contract, entry, options)
    program = agreed_program(contract, contract_file, program_file)
    descriptors = None
    if inherited is not None:
        attestation, layer = (int(number) for number in inherited.split(",", 1))
        descriptors = (attestation, layer)
    start = Start(
        contract,
        entry,
        program,
        arguments or [],
        options,
        descriptors,
        signatures=valid_signatures(contract, contract_file),
        ends_with_parent=end_with_parent,
    )
    # under `coterie tensorflow run` the parent process tells the events
    keeps = out is not None and not end_with_parent
    with event_log(out) if out is not None and keeps else nullcontext() as log:
        run_node(start, all_of(*filter(None, [log]), printed(line_of)))


@app.command()
def measure(
    program_file: ProgramFile,
    as_json: AsJson = False,
) -> None:
    """Print the digests of a program and of the installed TensorFlow, as lines for the contract.

    Example: coterie tensorflow measure train.py >> cluster.toml
    """
    from coterie.tensorflow.digests import read_program, tensorflow_folder, wheel_digest

    digests = {
        "program": read_program(program_file).digest,
        "wheel": wheel_digest(tensorflow_folder()),
    }
    if as_json:
        typer.echo(json.dumps(digests))
        return
    typer.echo("[tensorflow]")
    for key, digest in digests.items():
        typer.echo(f'{key} = "{digest}"')


@app.command()
def build(as_json: AsJson = False) -> None:
    """Build the native part; needs a C compiler and OpenSSL's headers.

    Example: coterie tensorflow build
    """
    from coterie.tensorflow.building import NATIVE_PART

    library = NATIVE_PART.build()
    typer.echo(json.dumps({"library": str(library)}) if as_json else library)
