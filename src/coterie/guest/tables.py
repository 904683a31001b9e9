"""The measurements of a guest as tables for a contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from coterie.attestation.snp.contracted import padded
from coterie.attestation.vtpm.contracted import PROGRAM_PCR, extended
from coterie.contract import Contract
from coterie.enclave.contents import ImageName
from coterie.errors import ContractInvalid
from coterie.kinds import OF_SNP, OF_VTPM, SIMULATED, Role, TeeKind

#: The roles whose nodes run an image.
ROLES: Final[dict[ImageName, tuple[Role, ...]]] = {
    "ps": ("ps",),
    "worker": ("worker", "chief"),
    "tensorflow": ("ps", "worker", "chief"),
}
# PCR 5 has the partition table, which a cloud may write anew; it says nothing of what is started.
_LISTED_PCRS: Final = (4, 9, 11, 12, 13)
_ALTERNATIVES: Final = ".alternatives"
_OF_THE_HOST: Final = ("mrtd", "rtmr0", "td_attributes", "xfam")


@dataclass(frozen=True)
class Measurements:
    """What a guest's image determines of its measurements.

    Attributes:
        program: Digest of the package, which the simulated TEE measures.
        pcrs: PCRs of a TPM's bank SHA-256, by number.
        rtmrs: Run-time registers of TDX, by number.
        launch: Launch digest under SEV-SNP; None unless the firmware was given.
    """

    program: bytes
    pcrs: dict[int, bytes]
    rtmrs: dict[int, bytes]
    launch: bytes | None = None


def kind_of(contract: Contract, image: ImageName, wanted: TeeKind | None = None) -> TeeKind:
    """The kind of TEE that a contract gives the nodes that run an image.

    Args:
        contract: The contract.
        image: The image.
        wanted: The kind, where the contract gives them several.

    Raises:
        ContractInvalid: It gives them several and none is wanted, or not the one that is wanted.
    """
    kinds = {contract.kind_of(node) for node in contract.nodes if node.role in ROLES[image]}
    kinds = kinds or {contract.trust.tee}
    if wanted is None and len(kinds) > 1:
        raise ContractInvalid(
            f"the image {image} would be for several kinds of TEE",
            expected="one kind for the nodes that run it",
            seen=", ".join(sorted(kinds)),
            remedy="build an image for each kind: --tee",
        )
    if wanted is not None and wanted not in kinds:
        raise ContractInvalid(
            f"no node that runs the image {image} runs in this kind of TEE",
            expected=" or ".join(sorted(kinds)),
            seen=wanted,
            remedy="name a kind that the contract gives them, or another --image",
        )
    return wanted or kinds.pop()


def table_names(contract: Contract, image: ImageName, tee: TeeKind) -> Iterator[str]:
    """Names of the contract's tables for the roles that run an image, and a kind of TEE.

    Args:
        contract: The contract; a role without any table yet gets one.
        image: The image.
        tee: The kind of TEE.
    """
    for role in ROLES[image]:
        kinds = list(contract.trust.tables(role)) or [tee]
        if tee in kinds:
            yield f"trust.roles.{role}{'' if tee == kinds[0] else _ALTERNATIVES}"


def trust_tables(measured: Measurements, names: Iterable[str], tee: TeeKind) -> str:
    """Tables to paste into the contract, for one kind of TEE; PCRs are comments where it has none.

    Args:
        measured: The measurements.
        names: The tables' names, of ``table_names``.
        tee: The kind of TEE.
    """
    return "\n".join(_table(measured, name, tee) for name in names)


def _table(measured: Measurements, table: str, tee: TeeKind) -> str:
    lines: list[str] = []
    within = tee in OF_SNP or tee in OF_VTPM  # the values have a table of their own
    if table.endswith(_ALTERNATIVES):
        lines += [f"[[{table}]]", f'tee = "{tee}"']
    elif not within:
        lines.append(f"[{table}]")
    if tee in OF_VTPM:
        return "\n".join((*lines, *_vtpm_lines(measured, table, tee))) + "\n"
    if within:
        lines.append(f"[{table}.snp]")
    if tee == "simulated":
        lines.append(f'mrenclave = ["{measured.program.hex()}"]  # SIMULATED: proves nothing')
    elif tee == "simulated-snp":
        launch = padded(measured.program).hex()
        lines.append(f'launch_measurement = ["{launch}"]  # SIMULATED: proves nothing')
    elif tee == "snp" and measured.launch is not None:
        lines.append(f'launch_measurement = ["{measured.launch.hex()}"]')
    elif tee == "snp":
        lines.append("# launch_measurement: give the firmware with --ovmf")
    elif tee == "tdx":
        lines += [f'rtmr{number} = ["{value.hex()}"]' for number, value in measured.rtmrs.items()]
        lines += [f"# {name}: of the host's firmware and machine" for name in _OF_THE_HOST]
    lines += [f'# SHA-256 PCR {pcr}: "{measured.pcrs[pcr].hex()}"' for pcr in _LISTED_PCRS]
    return "\n".join(lines) + "\n"


def _vtpm_lines(measured: Measurements, table: str, tee: TeeKind) -> Iterator[str]:
    """The table for a guest that a virtual TPM measures; its hardware measures the paravisor."""
    yield f"[{table}.vtpm]"
    if tee in SIMULATED:
        value = extended(measured.program).hex()
        yield f'pcrs.{PROGRAM_PCR} = ["{value}"]  # SIMULATED: proves nothing'
        return
    yield "secure_boot = [false]  # the image is not signed, so it starts without Secure Boot only"
    yield from (f'pcrs.{pcr} = ["{measured.pcrs[pcr].hex()}"]' for pcr in _LISTED_PCRS)
    yield "# console: of the machine; [false] where the host has no serial console of it"
    place = f"[{table}.snp]" if tee in OF_SNP else f"mrtd, rtmr0 to rtmr3, ... of [{table}]"
    yield f"# {place}: of the paravisor, which the machine's own evidence shows"
