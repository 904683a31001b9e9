"""The contract's ``[trust]`` section: accepted evidence by role. The default accepts nothing."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from coterie.contract.complete import check_role
from coterie.contract.endorsement_trust import EndorsementTrust
from coterie.contract.expiry import Moment
from coterie.contract.hex_digits import Hex6, Hex8, Hex16, Hex32, Hex48
from coterie.contract.section import Section
from coterie.contract.snp_trust import SnpTrust
from coterie.contract.token_trust import MAX_TOKENS, TokenTrust
from coterie.contract.vtpm_trust import VtpmTrust
from coterie.kinds import ROLES, SIMULATED, Launcher, Role, Stamp, TcbStatus, TeeKind

Advisory = Annotated[str, Field(pattern=r"^INTEL-(SA|DOC)-[0-9]{5}$")]
Svn = Annotated[int, Field(ge=0, lt=2**16)]


class RoleTrust(Section):
    """Reference values and accepted platform states for one role, in one kind of TEE.

    Attributes:
        measurement: ``"own"``: the peer runs the same package as this node (simulated only); the
            native part of ``coterie tensorflow`` is included only under contracts with a section
            ``tensorflow``.
        mrenclave: Accepted SGX enclave measurements (hex).
        mrsigner: Accepted SGX signer; needs ``isv_prod_id`` and ``minimum_isv_svn``.
        isv_prod_id: Product id of the signer's enclave.
        minimum_isv_svn: Lowest accepted security version.
        mrtd: Accepted TDX measurements of the initial guest (hex).
        rtmr0: Accepted values of run-time register 0 (hex).
        rtmr1: Accepted values of run-time register 1 (hex).
        rtmr2: Accepted values of run-time register 2 (hex).
        rtmr3: Accepted values of run-time register 3 (hex).
        td_attributes: Accepted TDX attribute words (hex); debug is always refused.
        xfam: Accepted extended-feature masks (hex).
        accepted_tcb_statuses: Platform states that are accepted; must not stay empty. ``Revoked``
            cannot be listed.
        accepted_advisories: Advisories that may be open on an accepted platform.
        minimum_tcb_evaluation_number: Oldest accepted collateral; required for ``sgx``, ``tdx`` and
            ``azure-tdx``.
        fmspc: Accepted platform families (hex; all if empty).
        ppid: Accepted single platforms (hex; all if empty).
        refused_advisories: Advisories that must not be open, while any other may be. Replaces
            ``accepted_advisories``, which must then be empty, and is weaker: advisories that are
            not yet known are accepted.
        out_of_date_grace_days: A platform that is accepted as ``OutOfDate`` or
            ``OutOfDateConfigurationNeeded`` is refused if the date of its TCB level, or of its
            quoting enclave's, is longer ago than this; without it, such a platform may have any
            age.
        refuse_smt: Refuse platforms whose PCK certificate does not say that simultaneous
            multithreading is off; certificates of the processor CA never say it.
        refuse_dynamic_platform: Refuse platforms whose PCK certificate does not say that no packages
            can be added.
        refuse_cached_keys: Refuse platforms whose PCK certificate does not say that Intel's
            registration service keeps none of their keys.
        tee: The kind of TEE that this role runs in, if another one than the contract's.
        snp: Reference values and floors of SEV-SNP guests, which replace all other keys but
            ``measurement``, ``tee``, ``vtpm``, ``endorsement`` and ``tokens``.
        vtpm: Reference values of guests that a virtual TPM measures; the other keys are then for the
            paravisor below.
        alternatives: Further tables, each for another kind of TEE, which it names as ``tee``; none of
            them has any itself. Then every node of the role names its kind.
        endorsement: Demand, besides the reference values, that the publisher of a guest's firmware has
            signed its launch measurement.
        tokens: Tokens of attestation services that nodes must show besides.
        launcher: Which launcher asks for this role's quotes, if nodes cannot (``tdx`` only): its way
            to make report data of what a node binds is then expected.
    """

    LATER = frozenset(
        {
            "refused_advisories",
            "out_of_date_grace_days",
            "refuse_smt",
            "refuse_dynamic_platform",
            "refuse_cached_keys",
            "tee",
            "snp",
            "vtpm",
            "alternatives",
            "endorsement",
            "tokens",
            "launcher",
        }
    )

    measurement: Literal["own"] | None = None
    mrenclave: Annotated[tuple[Hex32, ...], Field(strict=False)] = ()
    mrsigner: Hex32 | None = None
    isv_prod_id: Svn | None = None
    minimum_isv_svn: Svn | None = None
    mrtd: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    rtmr0: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    rtmr1: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    rtmr2: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    rtmr3: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    td_attributes: Annotated[tuple[Hex8, ...], Field(strict=False)] = ()
    xfam: Annotated[tuple[Hex8, ...], Field(strict=False)] = ()
    accepted_tcb_statuses: Annotated[tuple[TcbStatus, ...], Field(strict=False)] = ()
    accepted_advisories: Annotated[tuple[Advisory, ...], Field(strict=False)] = ()
    minimum_tcb_evaluation_number: Annotated[int, Field(ge=1)] | None = None
    fmspc: Annotated[tuple[Hex6, ...], Field(strict=False)] = ()
    ppid: Annotated[tuple[Hex16, ...], Field(strict=False)] = ()
    refused_advisories: Annotated[tuple[Advisory, ...], Field(strict=False)] = ()
    out_of_date_grace_days: Annotated[int, Field(ge=0, le=3660)] | None = None
    refuse_smt: bool = False
    refuse_dynamic_platform: bool = False
    refuse_cached_keys: bool = False
    tee: TeeKind | None = None
    snp: SnpTrust | None = None
    vtpm: VtpmTrust | None = None
    alternatives: Annotated[tuple[RoleTrust, ...], Field(strict=False)] = ()
    endorsement: EndorsementTrust | None = None
    tokens: Annotated[tuple[TokenTrust, ...], Field(strict=False, max_length=MAX_TOKENS)] = ()
    launcher: Launcher | None = None

    @property
    def lists_machines(self) -> bool:
        """Whether only single machines are accepted."""
        return bool(self.ppid or (self.snp is not None and self.snp.chip_id))

    @property
    def of_dcap(self) -> tuple[str, ...]:
        """Names of the keys that are set and mean nothing for SEV-SNP."""
        known = type(self).model_fields
        return tuple(
            name
            for name in known
            if name
            not in {
                *("measurement", "tee", "snp", "vtpm", "alternatives"),
                *("endorsement", "tokens", "launcher"),
            }
            and getattr(self, name) != known[name].default
        )

    @model_validator(mode="after")
    def _policies_fit_together(self) -> Self:
        if self.refused_advisories and self.accepted_advisories:
            raise ValueError(
                "accepted_advisories and refused_advisories are two ways to say it: give one"
            )
        late = {"OutOfDate", "OutOfDateConfigurationNeeded"} & set(self.accepted_tcb_statuses)
        if self.out_of_date_grace_days is not None and not late:
            raise ValueError(
                "out_of_date_grace_days grants nothing: accepted_tcb_statuses lists no OutOfDate"
            )
        return self

    @model_validator(mode="after")
    def _signer_is_complete(self) -> Self:
        signer = (self.mrsigner, self.isv_prod_id, self.minimum_isv_svn)
        if any(value is not None for value in signer) and None in signer:
            raise ValueError(
                "mrsigner, isv_prod_id and minimum_isv_svn go together: give all three"
            )
        return self


class RolesTrust(Section):
    """One table per role: ``[trust.roles.ps]``, ``[trust.roles.worker]``, ``[trust.roles.chief]``.

    Attributes:
        ps: Reference values for the parameter server.
        worker: Reference values for workers.
        chief: Reference values for the chief.
    """

    ps: RoleTrust | None = None
    worker: RoleTrust | None = None
    chief: RoleTrust | None = None

    def of(self, role: Role) -> RoleTrust | None:
        """The table of one role, or None if the contract has none."""
        tables: dict[Role, RoleTrust | None] = {
            "ps": self.ps,
            "worker": self.worker,
            "chief": self.chief,
        }
        return tables[role]


class TrustSection(Section):
    """What counts as proof.

    Attributes:
        tee: The kind of TEE of this contract's roles. A role may name another one, or several;
            simulated and real TEEs are never accepted together.
        certificate_minutes: Lifetime of a node's certificate, at most a day.
        reattestation_minutes: How long a pinned certificate is trusted before its node has to
            attest again.
        demand_signatures: Nodes and key servers refuse the contract unless all parties have signed
            it; under real TEEs they always do.
        seal_checkpoints: The parameter server seals its checkpoints under a key from shares of all
            parties; under real TEEs it always does.
        roles: Reference values per role.
        not_after: When the contract ends, as ``2027-01-31T12:00:00Z``; from then on nodes and key
            servers refuse it and its nodes' evidence, also during a run.
    """

    LATER = frozenset({"not_after"})

    tee: TeeKind
    certificate_minutes: Annotated[int, Field(ge=1, le=1440)] = 720
    reattestation_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    demand_signatures: bool = False
    seal_checkpoints: bool = False
    roles: RolesTrust = RolesTrust()
    not_after: Moment | None = None

    @property
    def simulated(self) -> bool:
        """Whether evidence under this contract proves nothing."""
        return self.tee in SIMULATED

    @property
    def kinds(self) -> frozenset[TeeKind]:
        """All kinds of TEE that some role may run in; the contract's own if no role is described."""
        named = frozenset(kind for role in ROLES for kind in self.tables(role))
        return named or frozenset({self.tee})

    @property
    def endorsed(self) -> bool:
        """Whether some table demands a launch endorsement."""
        tables = (table for role in ROLES for table in self.tables(role).values())
        return any(table.endorsement is not None for table in tables)

    def tables(self, role: Role) -> dict[TeeKind, RoleTrust]:
        """What a role's nodes must show, by the kind of TEE that they run in; the role's own first."""
        table = self.roles.of(role)
        if table is None:
            return {}
        return {one.tee or self.tee: one for one in (table, *table.alternatives)}

    @property
    def kinds_in_words(self) -> str:
        """The kinds of TEE for people: the one of all roles, or those of each."""
        if len(self.kinds) == 1:
            return next(iter(self.kinds))
        tables = {role: self.tables(role) for role in ROLES}
        return ", ".join(f"{role} {' or '.join(kinds)}" for role, kinds in tables.items() if kinds)

    def tokens_of(self, role: Role, kind: TeeKind) -> tuple[TokenTrust, ...]:
        """The tokens that a role's nodes in a kind of TEE must show."""
        table = self.tables(role).get(kind)
        return () if table is None else table.tokens

    @property
    def stamp(self) -> Stamp:
        """What results and receipts say of the TEEs."""
        if self.simulated:
            return "SIMULATED"
        kinds = self.kinds
        stamps: dict[TeeKind, Stamp] = {
            "sgx": "sgx",
            "tdx": "tdx",
            "snp": "snp",
            "azure-snp": "azure-snp",
            "azure-tdx": "azure-tdx",
        }
        return "mixed" if len(kinds) > 1 else stamps[next(iter(kinds))]

    @property
    def signatures_demanded(self) -> bool:
        """Whether all parties must have signed the contract before it is used."""
        return self.demand_signatures or not self.simulated

    @property
    def checkpoints_sealed(self) -> bool:
        """Whether checkpoints are sealed, for the attested parameter server only."""
        return self.seal_checkpoints or not self.simulated

    @model_validator(mode="after")
    def _reference_values_are_complete(self) -> Self:
        for role in ROLES:
            if (table := self.roles.of(role)) is not None:
                check_role(f"trust.roles.{role}", table, trust_tee=self.tee)
        return self
