"""``coterie build``: images of enclaves and guests that every party can build, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coterie.cli.options import AsJson
from coterie.enclave.contents import IMAGES, USUAL_IMAGES, ImageName
from coterie.kinds import TeeKind

app = typer.Typer(
    no_args_is_help=True, help="Build images of enclaves and guests, and check manifests."
)

ImagesFolder = Annotated[Path, typer.Option("--out", help="Folder that gets one folder per image.")]


@app.command()
def gramine(
    out: ImagesFolder,
    *,
    contract: Annotated[
        Path | None, typer.Option(help="Contract whose enclave section gives the sizes.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(help="Only this image: ps, worker, or tensorflow (if asked for); repeatable."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="RSA key that signs, PEM, 3072 bits, exponent 3; unsigned if absent."),
    ] = None,
    security_version: Annotated[
        int,
        typer.Option(min=1, max=65535, help="ISV_SVN: increase it with every corrected weakness."),
    ] = 1,
    direct: Annotated[
        bool, typer.Option("--direct", help="For gramine-direct: no SGX, proves nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lay out the nodes' files, render the manifests, and print the enclaves' measurements.

    Example: coterie build gramine --out enclaves --contract contract.toml
    """
    from coterie.cli import console
    from coterie.contract import EnclaveSection, load_contract
    from coterie.enclave.building import BuildOptions, build_image
    from coterie.enclave.gramine import GramineTools

    sizes = EnclaveSection() if contract is None else load_contract(contract).enclave
    options = BuildOptions(sizes, security_version=security_version, key=key, direct=direct)
    tools = GramineTools.installed()
    built = [build_image(name, out, options, tools) for name in _images(image)]
    if as_json:
        console.print_json(
            {
                one.image: {
                    "folder": str(one.folder),
                    "files": one.files,
                    "bytes": one.octets,
                    "files_sha256": one.digest.hex(),
                    "mrenclave": one.measurement.mrenclave.hex() if one.measurement else None,
                    "mrsigner": one.measurement.mrsigner.hex()
                    if one.measurement and one.measurement.mrsigner
                    else None,
                }
                for one in built
            }
        )
        return
    for one in built:
        typer.echo(f"{one.folder}: {one.files:,} files, {one.octets >> 20:,} MiB")
        typer.echo(f"  files      {one.digest.hex()}  (SHA-256 of files.sha256)")
        if direct:
            typer.echo("  DIRECT: no SGX, no measurement; anybody on the host can read everything")
        elif one.measurement is None:
            typer.echo("  MRENCLAVE  not computed: Gramine with SGX is not installed here")
        else:
            signer = one.measurement.mrsigner
            typer.echo(f"  MRENCLAVE  {one.measurement.mrenclave.hex()}")
            typer.echo(f"  MRSIGNER   {signer.hex() if signer else 'none: not signed, give --key'}")


@app.command()
def guest(
    contract: Annotated[
        Path, typer.Option(help="Contract whose kind of TEE the guests run; names the images.")
    ],
    out: ImagesFolder,
    *,
    image: Annotated[
        list[str] | None,
        typer.Option(help="Only this image: ps, worker, or tensorflow; repeatable."),
    ] = None,
    tee: Annotated[
        TeeKind | None,
        typer.Option(help="The kind of TEE, if the contract gives an image's nodes several."),
    ] = None,
    platform: Annotated[
        Path, typer.Option(help="Folder with Debian's unpacked packages: kernel, stub, ukify.")
    ] = Path("/"),
    ovmf: Annotated[
        Path | None,
        typer.Option(help="Firmware for the launch digest of SEV-SNP; not computed if absent."),
    ] = None,
    processors: Annotated[
        int, typer.Option(min=1, max=512, help="Virtual processors, for the launch digest.")
    ] = 1,
    processor_model: Annotated[
        str, typer.Option(help="Their model as QEMU names it, for the launch digest.")
    ] = "EPYC-v4",
    as_json: AsJson = False,
) -> None:
    """Build confidential virtual machines, and print what they determine of their measurements.

    The guest has the node's image under dm-verity, a kernel, and nothing else: no shell, no login,
    no service. The contract itself is an input of the host, as for enclaves.

    Example: coterie build guest --contract contract.toml --out guests
    """
    from coterie.cli import console
    from coterie.contract import load_contract
    from coterie.guest.building import build_guest, described
    from coterie.guest.launch import SnpMachine
    from coterie.guest.platform import find_platform
    from coterie.guest.tables import kind_of, table_names, trust_tables

    terms = load_contract(contract)
    machine = None if ovmf is None else SnpMachine(ovmf, processors, processor_model)
    found = find_platform(platform)
    needed = ["tensorflow"] if terms.tensorflow is not None else None
    kinds = {name: kind_of(terms, name, tee) for name in _images(image or needed)}
    built = [build_guest(name, out, kind, found, machine) for name, kind in kinds.items()]
    if as_json:
        console.print_json(
            {
                one.image: {
                    "folder": str(one.folder),
                    "bytes": one.octets,
                    **described(one.root, one.measured),
                }
                for one in built
            }
        )
        return
    for one in built:
        typer.echo(f"# {one.folder}: {one.octets >> 20:,} MiB, root {one.root.hex()}")
        kind = kinds[one.image]
        typer.echo(trust_tables(one.measured, table_names(terms, one.image, kind), kind))


@app.command()
def check(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A Gramine manifest.")],
    as_json: AsJson = False,
) -> None:
    """Refuse a manifest that lets the host choose code, arguments, environment or files.

    Reads the manifest only: its digests are not compared with files.sha256 or with the files. To
    know what is measured, build the image yourself and compare.

    Example: coterie build check enclaves/worker/manifest.toml
    """
    from coterie.cli import console
    from coterie.enclave.lint import check_manifest, read_manifest

    check_manifest(read_manifest(manifest))
    if as_json:
        console.print_json({"manifest": str(manifest), "accepted": True})
    else:
        typer.echo(f"{manifest}: every setting is known and safe; files not compared")


def _images(names: list[str] | None) -> tuple[ImageName, ...]:
    wanted = [image for image in IMAGES if image in (USUAL_IMAGES if names is None else names)]
    unknown = sorted(set(names or ()) - set(IMAGES))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no image: {', '.join(IMAGES)}")
    return tuple(wanted)
