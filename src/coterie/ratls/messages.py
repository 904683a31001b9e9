"""The messages of the session exchange (version 2), and their size limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field
from typing_extensions import override

from coterie.attestation.tokens.sources import MAX_TOKEN_BYTES, SEPARATOR
from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.contract.token_trust import MAX_TOKENS
from coterie.errors import CoterieError, HandshakeFailed
from coterie.ratls.evidence import MAX_QUOTE_BYTES
from coterie.ratls.schema import Codec, Message, Nonce, UnixSeconds
from coterie.ratls.voucher import MAX_VOUCHER_BYTES
from coterie.text import MAX_TEXT, printable

MAX_STAPLE_BYTES = 1 << 20
MAX_TOKENS_BYTES = MAX_TOKENS * (MAX_TOKEN_BYTES + len(SEPARATOR))
# Longest contents of a frame, by message.
HELLO_BYTES = 128
REFUSAL_BYTES = 1 << 14
ACCEPTANCE_BYTES = REFUSAL_BYTES  # a refusal may replace it
CONTRACT_BYTES = MAX_CONTRACT_BYTES + 64

QuoteBytes = Annotated[bytes, Field(min_length=1, max_length=MAX_QUOTE_BYTES)]
VoucherBytes = Annotated[bytes, Field(max_length=MAX_VOUCHER_BYTES)]
Staple = Annotated[bytes, Field(max_length=MAX_STAPLE_BYTES)]
_ErrorText = Annotated[str, Field(max_length=MAX_TEXT)]


class Hello(Message):
    """First message of each side.

    Attributes:
        nonce: 32 fresh random bytes that the peer's evidence must cover.
        wants_collateral: This side has no collateral for the peer's quote and asks the peer to staple it.
    """

    KIND = "hello"
    VERSION = 2  # version 1 had no token that binds calls to the session
    nonce: Nonce
    wants_collateral: bool


class WithTokens(Message):
    """A message with evidence, and with tokens where the contract demands them; else it has no such key.

    Attributes:
        tokens: Tokens of attestation services, one a line, in the contract's order.
    """

    tokens: Annotated[bytes, Field(max_length=MAX_TOKENS_BYTES)] = b""

    @override
    def to_map(self) -> dict[str, object]:
        return {key: value for key, value in super().to_map().items() if key != "tokens" or value}


class EvidenceMessage(WithTokens):
    """Second message of each side.

    Attributes:
        quote: Fresh quote over the session's report data.
        voucher: The party's voucher in CBOR; empty if there is none.
        collateral: Collateral for the quote in JSON; empty unless the peer asked for it.
    """

    KIND = "evidence"
    quote: QuoteBytes
    voucher: VoucherBytes
    collateral: Staple


class ContractMessage(Message):
    """Sent only if the contracts differ.

    Attributes:
        contract: This side's contract, canonical JSON.
    """

    KIND = "contract"
    contract: Annotated[bytes, Field(min_length=2, max_length=MAX_CONTRACT_BYTES)]


class Acceptance(Message):
    """Last message of each side.

    Attributes:
        grpc_port: Port of the listener's gRPC server; 0 from the dialler.
        valid_until: Unix seconds; the sender trusts the receiver's certificate until then.
    """

    KIND = "acceptance"
    grpc_port: Annotated[int, Field(ge=0, le=65_535)]
    valid_until: UnixSeconds


class Refusal(Message):
    """Sent in place of any message except the first. Its texts are raw: show `reason` instead.

    Attributes:
        error: Name of the error's class.
        what: What went wrong.
        expected: What was expected.
        seen: What was seen.
        remedy: What to do.
        failed_check: Name of the check that failed; empty for other errors.
    """

    KIND = "refusal"
    error: _ErrorText
    what: _ErrorText
    expected: _ErrorText
    seen: _ErrorText
    remedy: _ErrorText
    failed_check: _ErrorText

    @classmethod
    def of(cls, error: CoterieError | Mapping[str, str]) -> Self:
        """Makes the refusal that reports an error; cuts texts that are too long.

        Args:
            error: The error, or its ``to_dict``.
        """
        fields = error.to_dict() if isinstance(error, CoterieError) else error
        return cls(**{key: printable(fields.get(key, "")) for key in cls.model_fields})

    @property
    def reason(self) -> dict[str, str]:
        """The texts in printable form."""
        return {key: printable(text) for key, text in self.model_dump().items()}

    def as_error(self, peer: str) -> HandshakeFailed:
        """The error for the refused side, which repeats the peer's reason.

        Args:
            peer: Name of the refusing peer, for people.
        """
        reason = self.reason
        check = f"[{reason['failed_check']}] " if reason["failed_check"] else ""
        return HandshakeFailed(
            f"{peer} refused this node: {reason['error']}: {check}{reason['what']}",
            expected=reason["expected"],
            seen=reason["seen"],
            remedy=reason["remedy"],
        )


CODEC = Codec(Hello, EvidenceMessage, ContractMessage, Acceptance, Refusal, between="two nodes")


def evidence_bytes(*, stapled: bool, tokens: bool = False) -> int:
    """Longest content of the frame with a peer's evidence, or of a refusal in its place.

    Args:
        stapled: Whether the peer was asked for its collateral.
        tokens: Whether the contract demands tokens of it.
    """
    more = (MAX_STAPLE_BYTES if stapled else 0) + (MAX_TOKENS_BYTES + 16 if tokens else 0)
    return MAX_QUOTE_BYTES + MAX_VOUCHER_BYTES + more + 128
