"""Whether a role's table in ``[trust]`` lists all that its kind of TEE needs, and nothing without meaning."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from coterie.contract.snp_trust import SnpTrust
from coterie.contract.token_trust import check_tokens
from coterie.contract.vtpm_trust import VtpmTrust
from coterie.kinds import OF_SNP, OF_TDX, OF_VTPM, SIMULATED, TeeKind

if TYPE_CHECKING:
    from coterie.contract.trust import RoleTrust

_TDX_VALUES = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "td_attributes", "xfam")


def check_role(where: str, table: RoleTrust, *, trust_tee: TeeKind) -> None:
    """Checks one role's table, and the tables for other kinds of TEE in it.

    Args:
        where: The table's name.
        table: The table.
        trust_tee: The contract's own kind of TEE.

    Raises:
        ValueError: Something is missing, has no meaning for its kind, or is there twice.
    """
    kinds = [table.tee or trust_tee]
    _check_table(where, kinds[0], table, trust_tee)
    for i, other in enumerate(table.alternatives):
        place = f"{where}.alternatives[{i}]"
        if other.tee is None:
            raise ValueError(f"{place}.tee is missing: which kind of TEE the table is for")
        if other.alternatives:
            raise ValueError(f"{place} has alternatives itself: list all kinds in {where}")
        if other.tee in kinds:
            raise ValueError(f"{place} is a second table for {other.tee}: give one per kind")
        kinds.append(other.tee)
        _check_table(place, other.tee, other, trust_tee)


def check_node_kind(
    name: str, tee: TeeKind | None, where: str, listed: Collection[TeeKind]
) -> None:
    """Checks the kind of TEE that a node names.

    Args:
        name: The node's name.
        tee: The kind; None if it names none.
        where: Name of its role's table.
        listed: The kinds that the table lists.

    Raises:
        ValueError: The role does not list it, or lists several and the node names none.
    """
    kinds = " or ".join(listed)
    if tee is None and len(listed) > 1:
        raise ValueError(f"node {name} names no tee, and {where} lists several: name {kinds}")
    if tee is not None and tee not in listed:
        raise ValueError(
            f"node {name} names tee {tee!r}, which {where} does not list: name {kinds}"
        )


def _check_table(where: str, kind: TeeKind, table: RoleTrust, trust_tee: TeeKind) -> None:
    if (kind in SIMULATED) is not (trust_tee in SIMULATED):
        raise ValueError(
            f"{where}.tee = {kind!r} under trust.tee = {trust_tee!r}: simulated and real never mix"
        )
    if table.measurement is not None and kind not in SIMULATED:
        raise ValueError(f'{where}.measurement = "own" is for simulated TEEs only')
    if table.endorsement is not None:
        table.endorsement.check(f"{where}.endorsement", kind)
    if table.launcher is not None and kind != "tdx":
        raise ValueError(f"{where}.launcher is for guests in TDX, and the role runs in {kind}")
    check_tokens(f"{where}.tokens", table.tokens, simulated=kind in SIMULATED)
    if kind in OF_VTPM:
        _check_vtpm(where, kind, table)
    elif table.vtpm is not None:
        raise ValueError(f"{where}.vtpm is for Azure's guests, and the role runs in {kind}")
    if kind in OF_SNP:
        _check_snp(where, kind, table)
    elif table.snp is not None:
        raise ValueError(f"{where}.snp is for SEV-SNP, and the role runs in {kind}")
    else:
        _check_dcap(where, kind, table)


def _check_vtpm(where: str, kind: TeeKind, table: RoleTrust) -> None:
    section = table.vtpm or VtpmTrust()
    missing = section.missing()
    if kind in SIMULATED:
        if table.measurement is None and not section.pcrs:
            raise ValueError(f'{where} needs measurement = "own" or vtpm.pcrs')
    elif missing is not None:
        raise ValueError(f"{where}.vtpm.{missing} is missing: nothing is accepted by default")


def _check_snp(where: str, kind: TeeKind, table: RoleTrust) -> None:
    if table.of_dcap:
        raise ValueError(f"{where}.{table.of_dcap[0]} means nothing for SEV-SNP: see {where}.snp")
    section = table.snp or SnpTrust()
    missing = section.missing()
    if kind == "simulated-snp":
        if table.measurement is None and not section.launch_measurement:
            raise ValueError(f'{where} needs measurement = "own" or snp.launch_measurement')
    elif kind not in SIMULATED and missing is not None:
        raise ValueError(f"{where}.snp.{missing} is missing: nothing is accepted by default")


def _check_dcap(where: str, kind: TeeKind, table: RoleTrust) -> None:
    if not table.accepted_tcb_statuses:
        raise ValueError(f"{where}.accepted_tcb_statuses is empty: nothing would be accepted")
    if kind in SIMULATED:
        if kind == "simulated" and table.measurement is None and not table.mrenclave:
            raise ValueError(f'{where} needs measurement = "own" or a list mrenclave')
        return
    if table.minimum_tcb_evaluation_number is None:
        raise ValueError(f"{where}.minimum_tcb_evaluation_number is missing")
    if kind == "sgx" and not table.mrenclave and table.mrsigner is None:
        raise ValueError(
            f"{where} needs mrenclave, or mrsigner with isv_prod_id and minimum_isv_svn"
        )
    if kind in OF_TDX:
        for name in _TDX_VALUES:
            if not getattr(table, name):
                raise ValueError(f"{where}.{name} is missing: a TDX reference value")
