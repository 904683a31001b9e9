"""Verifies a receipt: contract, signatures, evidence, history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from coterie.attestation.appraiser import Appraiser, contracted_appraiser
from coterie.attestation.collateral_source import (
    CollateralSource,
    DirectoryCollateral,
)
from coterie.attestation.measurement import own_package_measurement
from coterie.contract import Contract, agreed_digest, contract_digest, contract_from_json
from coterie.contract.signatures import ContractSignature, verify_signature, verify_signatures
from coterie.errors import ReceiptRefused
from coterie.kinds import Stamp
from coterie.receipts import entries, entry_types
from coterie.receipts.cluster_history import ClusterHistory
from coterie.receipts.entries import Entry
from coterie.receipts.evidence import EvidenceJudge, within
from coterie.receipts.findings import Findings
from coterie.receipts.history import History
from coterie.receipts.reading import read_receipt


class Verifier:
    """Verifies entries whose order ``reading`` has checked.

    Args:
        appraiser_of: Makes the appraiser of evidence under a contract's rules.
        expected: The contract that it must be; if absent, the receipt's own contract is used.
        collateral: Source of collateral that the receipt lacks.
        at: Time as of which to verify; if absent, the entries' own times.
    """

    def __init__(
        self,
        appraiser_of: Callable[[Contract], Appraiser],
        *,
        expected: Contract | None = None,
        collateral: CollateralSource | None = None,
        at: datetime | None = None,
    ) -> None:
        self._appraiser_of = appraiser_of
        self._expected = expected
        self._evidence = EvidenceJudge(collateral, at)
        self._at = at
        self._signers: tuple[str, ...] = ()
        self._stamp: Stamp = "SIMULATED"
        self._history: History | None = None
        self._waiting: list[Entry] = []
        self._first: datetime | None = None
        self._last: Entry | None = None
        self._count = 0

    def take(self, entry: Entry) -> None:
        """Verifies an entry; the server's own evidence is deferred until all collateral was read.

        Raises:
            ReceiptRefused: It fails; the place is its line.
        """
        self._count += 1
        self._first = self._first or entry.at
        self._last = entry
        match entry.body:
            case entry_types.Server() as server:
                self._evidence.keep_server(entry, server)
            case entry_types.Agreement() as agreement:
                self._agree(entry, agreement)
            case entry_types.Signed(digest=digest, fields=fields):
                self._evidence.keep_collateral(entry, digest, fields)
            case entry_types.AttestedNode() as node:
                self._evidence.judge_node(entry, node)
            case _:
                pass
        if self._history is None:
            self._waiting.append(entry)
            return
        for earlier in (*self._waiting, entry):
            self._history.take(earlier)
        self._waiting.clear()

    def check_servers(self) -> int:
        """Verifies the evidence of every key that signs.

        Returns:
            Incarnation of the server's newest start.

        Raises:
            ReceiptRefused: One fails; the place is its line.
        """
        self._evidence.judge_servers()
        return self._evidence.incarnation

    def findings(self) -> Findings:
        """The content of a complete receipt, all of it verified.

        Raises:
            ReceiptRefused: The server's evidence fails.
        """
        self.check_servers()
        history = self._history
        assert history is not None  # `read_receipt` refuses a receipt without a contract
        assert self._first is not None
        assert self._last is not None
        history.close()
        return Findings(
            contract=self._evidence.contract,
            contract_digest=self._evidence.digest.hex(),
            stamp=self._stamp,
            signers=self._signers,
            proved=tuple(self._evidence.proved),
            history=history,
            entries=self._count,
            head=self._last.digest,
            first=self._first,
            last=self._last.at,
            judged_at=self._at,
        )

    # --- contract and collateral ---------------------------------------------------------------

    def _agree(self, entry: Entry, agreement: entry_types.Agreement) -> None:
        contract = within(entry, lambda: _contract_of(agreement.contract))
        agreed = agreed_digest(agreement.contract)
        digest = agreed.hex()
        what = "the contract has another digest than the receipt says"
        entry.check_same(what, agreement.digest, digest)
        if self._expected is not None:
            expected = contract_digest(self._expected)
            if expected not in {agreed, contract_digest(contract)}:
                raise _another_contract(self._expected, contract, entry.place, digest)
        what = "it is of another kind of run than the contract's"
        entry.check_same(
            what, f"format {entry_types.format_of(contract)}", f"format {agreement.format}"
        )
        stamp = contract.trust.stamp
        entry.check_same("it bears the wrong stamp", stamp, agreement.stamp)
        signatures = [
            ContractSignature(1, one.party, digest, one.signature) for one in agreement.signatures
        ]
        within(entry, lambda: _check_signatures(contract, agreed, signatures))
        self._stamp = stamp
        self._signers = tuple(one.party for one in signatures)
        self._evidence.judge_by(contract, agreed, self._appraiser_of(contract))
        self._history = (History if contract.tensorflow is None else ClusterHistory)(contract)


def _another_contract(
    expected: Contract, contract: Contract, place: str, digest: str
) -> ReceiptRefused:
    """The refusal. A contract without keys always differs: the run has added temporary keys."""
    seen = contract_digest(expected).hex()
    keyless = {party.name for party in expected.parties if party.key is None}
    parties = tuple(
        party.model_copy(update={"key": None}) if party.name in keyless else party
        for party in contract.parties
    )
    stripped = contract.model_copy(update={"parties": parties})
    if not keyless or contract_digest(stripped) != contract_digest(expected):
        return ReceiptRefused(
            "the receipt is refused: it is the receipt of another contract",
            place=place,
            expected=seen,
            seen=digest,
            remedy="`coterie contract diff`, with yours and the contract.json in the run's folder, tells what differs: "
            "name the contract that the run was under, or do not trust this file",
        )
    return ReceiptRefused(
        "the contract that was given names no keys, so the run made some, for itself alone",
        place=place,
        expected=seen,
        seen=digest,
        remedy="give --contract the contract.json in the run's folder; its digest stands for those keys, too",
    )


def _contract_of(fields: dict[str, JsonValue]) -> Contract:
    return contract_from_json(entries.canonical(fields), "the receipt")


def _check_signatures(
    contract: Contract, agreed: bytes, signatures: Iterable[ContractSignature]
) -> None:
    if contract.trust.signatures_demanded:
        verify_signatures(contract, signatures, digest=agreed)
        return
    for signature in signatures:
        verify_signature(contract, signature, digest=agreed)


def appraiser_for(contract: Contract, folder: Path | None = None) -> Appraiser:
    """Appraises by a contract's rules; ``measurement = "own"`` means this installation.

    Args:
        contract: The contract.
        folder: Directory of collateral, which may hold launch endorsements.
    """
    own = None
    if contract.trust.simulated:
        own = own_package_measurement(tensorflow=contract.tensorflow is not None)
    return contracted_appraiser(contract.trust, own_measurement=own, folder=folder)


def verify_receipt(
    path: Path,
    *,
    appraiser_of: Callable[[Contract], Appraiser] | None = None,
    expected: Contract | None = None,
    folder: Path | None = None,
    at: datetime | None = None,
) -> Findings:
    """Verifies a whole receipt, offline.

    Args:
        path: The file.
        appraiser_of: Makes the appraiser of evidence under a contract's rules; if absent, by these
            rules, with launch endorsements from ``folder``.
        expected: The contract that it must belong to; if absent, the receipt's own is used.
        folder: Directory of collateral for servers whose collateral is not in the receipt.
        at: Time as of which to verify evidence, UTC; if absent, the receipt's own times.

    Returns:
        Its content, all of it verified.

    Raises:
        ReceiptRefused: Something fails; the place is named.
    """
    verifier = Verifier(
        appraiser_of or partial(appraiser_for, folder=folder),
        expected=expected,
        collateral=DirectoryCollateral(folder) if folder is not None else None,
        at=at,
    )
    for entry in read_receipt(path):
        verifier.take(entry)
    return verifier.findings()
