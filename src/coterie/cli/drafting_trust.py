"""Drafts ``[trust]``: what is accepted of each role, by the kinds of TEE that its nodes run in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from coterie.kinds import OF_SNP, SIMULATED, Role, TeeKind

# The registers of a TDX guest that a contract has to name: contract/trust.py.
TDX_VALUES = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "td_attributes", "xfam")


@dataclass(frozen=True)
class Accepted:
    """What is accepted of one real kind of TEE.

    Attributes:
        reference: Reference values: names of keys of ``[trust.roles.ROLE]``, and the accepted hex
            values of each. For ``snp`` and ``azure-snp``, those of ``[trust.roles.ROLE.snp]``.
        floors: For these, the patch levels below which no platform is accepted, by product line.
        pcrs: For Azure's guests, the accepted value of each PCR that is compared.
        machine: For Azure's guests, what the paravisor has to say of them.
        minimum_evaluation: Oldest accepted collateral of Intel's.
    """

    reference: Mapping[str, Sequence[str]]
    floors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    pcrs: Mapping[int, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    minimum_evaluation: int | None = None


def trust_lines(
    tee: TeeKind,
    roles: Sequence[tuple[Role, Sequence[TeeKind]]],
    accepted: Mapping[TeeKind, Accepted],
) -> list[str]:
    """The lines of ``[trust]`` and its tables.

    Args:
        tee: The contract's own kind of TEE.
        roles: Each role and the kinds of its nodes.
        accepted: What is accepted, for each real kind.
    """
    lines = [
        "# The simulated TEE proves nothing: it is for trying things out."
        if tee in SIMULATED
        else "# Only what is listed is accepted. Every party checks these values itself.",
        "[trust]",
        f"tee = {_text(tee)}",
    ]
    for role, kinds in roles:
        for i, kind in enumerate(kinds):
            name = f"trust.roles.{role}" + (".alternatives" if i else "")
            lines += ["", f"[[{name}]]" if i else f"[{name}]"]
            lines += [f"tee = {_text(kind)}"] if i or kind != tee else []
            lines += _table(name, kind, accepted.get(kind))
    return lines


def _table(name: str, kind: TeeKind, accepted: Accepted | None) -> Iterator[str]:
    if accepted is None:
        yield 'measurement = "own"  # the same package as the node itself runs'
    elif kind not in OF_SNP:
        yield from _values(accepted.reference)
        yield f"minimum_tcb_evaluation_number = {accepted.minimum_evaluation}"
    if kind not in OF_SNP:
        yield 'accepted_tcb_statuses = ["UpToDate"]'
    if accepted is not None and kind in OF_SNP:
        yield from _snp(f"{name}.snp", accepted)
    if accepted is not None and accepted.pcrs:
        yield from _vtpm(f"{name}.vtpm", accepted)


def _values(values: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, accepted in values.items():
        plain = name == "vmpl"
        yield f"{name} = [{', '.join(accepted if plain else map(_text, accepted))}]"


def _snp(name: str, accepted: Accepted) -> Iterator[str]:
    yield f"[{name}]"
    yield from _values(accepted.reference)
    yield ""
    yield "# Below these patch levels no platform is accepted: raise them by AMD's security bulletins."
    yield f"[{name}.minimum_tcb]"
    for product, levels in accepted.floors.items():
        parts = ", ".join(f"{part} = {level}" for part, level in levels.items())
        yield f"{product} = {{ {parts} }}"


def _vtpm(name: str, accepted: Accepted) -> Iterator[str]:
    yield ""
    yield f"[{name}]"
    for key, value in accepted.machine.items():
        yield f"{key} = [{value}]"
    yield ""
    yield "# Take out PCRs that change while the guest runs; what is not listed is not compared."
    yield f"[{name}.pcrs]"
    for number, value in accepted.pcrs.items():
        yield f"{number} = [{_text(value)}]"


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's (TOML 1.0, "String")."""
    return json.dumps(value, ensure_ascii=False)
