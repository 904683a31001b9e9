"""The policy of a party's key server, separate from the contract: which nodes get which keys.

A policy is a TOML file:

    format = 1
    party = "acme"
    contract = "contract.toml"      # beside the policy; no other contract's nodes get anything

    [[data]]                        # one for each sealed data set
    key = "acme-data.key"
    roles = ["worker"]

    [model]                         # how the party's node keeps the trained model: sealed under
    key = "acme-model.key"          # this key; or open, with `plain = true`: its host is the party's

    [start]                         # where the contract goes on from a model of the party's that lies
    key = "acme-model.key"          # sealed at the node that gives it: it may be the same key

    [trust]                         # optional: stricter than the contract's own section
    ...
"""

from __future__ import annotations

import hmac
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from coterie.contract import Contract, contract_digest, load_contract
from coterie.contract.loading import text_of
from coterie.contract.trust import TrustSection
from coterie.errors import ContractInvalid, ContractMismatch, KeyRefused
from coterie.files import read_bounded
from coterie.keys.server.messages import KeyRequest
from coterie.kinds import Role
from coterie.ratls.claims import Claims
from coterie.ratls.voucher import Voucher, verify_voucher
from coterie.sealed.data_key import DataKey

_MAX_BYTES = 1 << 16


class _DataEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: str
    roles: Annotated[tuple[Role, ...], Field(strict=False, min_length=1)]


class _ModelEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: str | None = None
    plain: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.key is None) != self.plain:
            raise ValueError("give a key, or plain = true")
        return self


class _StartEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: str


class _PolicyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    party: str
    contract: str
    data: Annotated[tuple[_DataEntry, ...], Field(strict=False)] = ()
    model: _ModelEntry | None = None
    start: _StartEntry | None = None
    trust: TrustSection | None = None


@dataclass(frozen=True)
class Release:
    """A key, and the roles that may have it."""

    key: DataKey
    roles: frozenset[Role]


@dataclass(frozen=True)
class KeyPolicy:
    """Decides on requests of nodes whose evidence was verified.

    Attributes:
        party: The key server's party.
        contract: The only contract whose nodes get keys.
        contract_path: Where it lies: signatures lie beside it.
        trust: What counts as proof: the policy's own section, or the contract's.
        releases: By data set id.
        model: How the party's node keeps the trained model: sealed under this key, or open; None
            if it may not at all.
        start: Opens the sealed model that the run goes on from, at the node that gives it.
    """

    party: str
    contract: Contract
    contract_path: Path
    trust: TrustSection
    releases: Mapping[bytes, Release]
    model: DataKey | Literal["plain"] | None = None
    start: DataKey | None = None

    @classmethod
    def read(cls, path: Path) -> KeyPolicy:
        """Reads a policy, its contract and its keys.

        Raises:
            ContractInvalid: The policy or the contract is not valid.
            KeyFileRefused: A file is not a key file.
        """
        try:
            text = read_bounded(path, _MAX_BYTES)
            found = _PolicyFile.model_validate(tomllib.loads(text_of(text, f"the policy {path}")))
        except (OSError, ValueError, RecursionError) as error:
            raise _invalid(path, _said(error)) from error
        contract_path = path.parent / found.contract
        contract = load_contract(contract_path)
        if found.party not in contract.party_names:
            raise _invalid(path, f"party {found.party!r}, which is not in the contract")
        trust = found.trust or contract.trust
        if not trust.kinds <= contract.trust.kinds or trust.tee != contract.trust.tee:
            seen = f"{trust.tee!r} ({', '.join(sorted(trust.kinds))})"
            raise _invalid(path, f"trust.tee {seen} under a contract of another kind")
        releases: dict[bytes, Release] = {}
        for entry in found.data:
            key = _key(path, entry.key, found.party)
            if key.set_id in releases:
                raise _invalid(path, f"the key {entry.key} twice")
            releases[key.set_id] = Release(key, frozenset(entry.roles))
        model: DataKey | Literal["plain"] | None = None
        if found.model is not None:
            named = found.model.key
            model = "plain" if named is None else _key(path, named, found.party)
        if isinstance(model, DataKey) and model.set_id in releases:
            raise _invalid(path, "one key for a data set and for the model")
        start = None
        if found.start is not None:
            if contract.start is None:
                raise _invalid(path, "[start], but the contract goes on from no model")
            start = _key(path, found.start.key, found.party)
            if start.set_id in releases:
                raise _invalid(path, "one key for a data set and for the start")
        return cls(found.party, contract, contract_path, trust, releases, model, start)

    def warnings(self) -> tuple[Mapping[str, str], ...]:
        """Warnings about grants that the owner may not have intended, each as flat strings."""
        tables = {
            node.role: self.trust.tables(node.role).get(self.contract.kind_of(node))
            for node in self.contract.model_recipients()
            if node.party == self.party
        }
        anywhere = sorted(
            role for role, table in tables.items() if table is not None and not table.lists_machines
        )
        if self.model != "plain" or not anywhere:
            return ()
        where = " and ".join(f"trust.roles.{role}" for role in anywhere)
        return (
            {
                "event": "WARNING",
                "what": f"whoever starts {self.party}'s node on a machine of his own gets the trained "
                "model IN THE CLEAR: the policy says plain = true and lists no machine",
                "expected": f"ppid in {where} of the policy, or snp.chip_id: the machines that are {self.party}'s own",
                "seen": "any platform",
                "remedy": "list ppid (coterie attest show names a quote's), or name a key under "
                "[model], which coterie seal-key makes",
            },
        )

    def check_voucher(self, claims: Claims) -> None:
        """Decides whether the party vouches for a node.

        Raises:
            ContractMismatch: It runs under another contract.
            KeyRefused: It is another party's.
        """
        self._check_contract(claims)
        self._check_party(claims)

    def data_key(self, claims: Claims, request: KeyRequest) -> bytes:
        """The key of a data set, or of what the run starts from, if the node may have it.

        Raises:
            ContractMismatch: The node runs under another contract.
            KeyRefused: It belongs to another party or has another role, there is no such data set,
                or it does not send the start.
        """
        self._check_contract(claims)
        self._check_party(claims)
        release = self.releases.get(request.set_id)
        if self.start is not None and hmac.compare_digest(request.set_id, self.start.set_id):
            self._check_giver(claims)
            return self.start.key
        if release is None:
            what = f"the key server of {self.party} has no key for this data set"
            known = [set_id.hex()[:16] for set_id in self.releases] or ["none"]
            remedy = "list the data set's key in the policy, and start the key server again"
            raise KeyRefused.unknown(what, request.set_id.hex()[:16], known, remedy)
        if claims.role not in release.roles:
            raise KeyRefused(
                f"node {claims.node} may not have the key of this data set",
                expected=f"role {' or '.join(sorted(release.roles))}",
                seen=f"role {claims.role}",
                remedy="if it should, add its role to the data set's roles in the policy",
            )
        return release.key.key

    def model_key(self, claims: Claims) -> DataKey | Literal["plain"]:
        """The key for a node's trained model; the model stays open only on the party's own host.

        Only the party knows whose host it is, since the host controls all that the node sees.

        Raises:
            ContractMismatch: The node runs under another contract.
            KeyRefused: The contract does not give it the model, it belongs to another party, or
                there is no such key.
        """
        self._check_contract(claims)
        self._check_party(claims)
        recipients = {node.name for node in self.contract.model_recipients()}
        if claims.node not in recipients:
            what = f"node {claims.node} does not get the trained model, nor the key to seal it"
            remedy = "results.model_parties of the contract says which parties get the model"
            raise KeyRefused.unknown(what, claims.node, sorted(recipients), remedy)
        if self.model is None:
            raise KeyRefused(
                f"the key server of {self.party} does not say how the trained model is kept",
                expected="a [model] section in its policy",
                seen="none",
                remedy="make a key with `coterie seal-key` and name it in the policy, or, where the "
                "node's machine is the party's own, write plain = true; start the key server again",
            )
        return self.model

    def check_share(self, claims: Claims, voucher: bytes, *, at: datetime) -> None:
        """Decides whether a node gets the party's share of the key of the run's checkpoints.

        The node may belong to any party, but that party must vouch for it: evidence proves which
        program runs, but not whose node it is.

        Args:
            claims: The node's verified claims.
            voucher: Voucher of the node's own party, CBOR.
            at: The time now, UTC.

        Raises:
            ContractMismatch: It runs under another contract.
            KeyRefused: It is not a parameter server, or the contract has no sealed checkpoints.
            VoucherRefused: Its own party does not vouch for it.
        """
        self._check_contract(claims)
        if claims.role != "ps":
            raise KeyRefused(
                f"node {claims.node} may not have a share of the checkpoints' key",
                expected="role ps",
                seen=f"role {claims.role}",
                remedy="only the parameter server reads checkpoints",
            )
        if not self.contract.trust.checkpoints_sealed:
            raise KeyRefused(
                "under this contract checkpoints are not sealed",
                expected="trust.seal_checkpoints = true, or a real TEE",
                seen="neither",
                remedy="run the same version of Coterie on both sides",
            )
        verify_voucher(Voucher.from_cbor(voucher), claims, contract=self.contract, at=at)

    def _check_contract(self, claims: Claims) -> None:
        own = contract_digest(self.contract)
        if not hmac.compare_digest(claims.contract_digest, own):
            what = f"node {claims.node} runs under another contract than {self.party}'s key server"
            raise ContractMismatch.differs(what, "contract", own, claims.contract_digest)

    def _check_giver(self, claims: Claims) -> None:
        giver = self.contract.start_giver()
        if giver is None or claims.node != giver.name:
            raise KeyRefused(
                f"node {claims.node} does not give the model that the run starts from, nor gets its key",
                expected=giver.name if giver is not None else "no start",
                seen=claims.node,
                remedy="start.party of the contract says which party gives it, by its chief or its "
                "first worker",
            )

    def _check_party(self, claims: Claims) -> None:
        if claims.party != self.party:
            raise KeyRefused(
                f"node {claims.node} is of another party than this key server",
                expected=f"party {self.party}",
                seen=f"party {claims.party}",
                remedy="let the node ask its own party's key server",
            )


def _key(policy: Path, name: str, party: str) -> DataKey:
    key = DataKey.read(policy.parent / name)
    if key.party != party:
        raise _invalid(policy, f"the key {name}, of party {key.party!r}")
    return key


def _said(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)[:200]


def _invalid(path: Path, seen: str) -> ContractInvalid:
    return ContractInvalid(
        f"the key server's policy {path} is not valid",
        expected="TOML with format, party, contract, and perhaps data, model and trust",
        seen=seen,
        remedy="see docs/sealing.md",
    )
