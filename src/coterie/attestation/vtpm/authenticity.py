"""Authenticates a virtual TPM's quote by the evidence of the hardware below it.

The rules, in order, after those of the hardware's kind; the first broken rule names the refusal:

1. the hardware's report is over the paravisor's runtime data;
2. the key in these has signed the TPM's quote, and the quote is one;
3. it is over what the program says;
4. the values of the PCRs are the quoted ones.

The signer's qualified name in the quote is not compared: it is a digest over the hierarchy above the
key, which the runtime data do not describe. The key itself is bound.
"""

from __future__ import annotations

from coterie.attestation.verdict import CheckList
from coterie.attestation.vtpm.quote import VtpmQuote, qualifying_data
from coterie.attestation.vtpm.runtime_data import verify_binding
from coterie.attestation.vtpm.tpm_quote import verify_quote

FORMATS = ("runtime_data_format", "tpm_key", "tpm_quote_format")
CHECKS = ("runtime_data_binding", "tpm_quote_signature", "tpm_quote_data", "tpm_pcrs")


def verify_tpm(quote: VtpmQuote, checks: CheckList) -> None:
    """Makes the checks above those of the hardware, which must have passed.

    Raises:
        EvidenceRefused: One of ``CHECKS``.
    """
    verify_binding(quote.runtime, quote.hardware.report_data)
    checks.passed("runtime_data_binding")
    verify_quote(
        quote.tpm,
        quote.signature,
        quote.machine.attestation_key,
        extra_data=qualifying_data(quote.report_data),
        values=dict(quote.pcrs),
    )
    checks.passed("tpm_quote_signature")
    checks.passed("tpm_quote_data", quote.report_data.hex())
    checks.passed("tpm_pcrs", f"PCRs {', '.join(map(str, quote.tpm.pcrs)) or 'none'}")
