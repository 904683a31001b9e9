"""Whether collateral is for a quote: its vendor, its platform family, its kind of TEE."""

from __future__ import annotations

from coterie.attestation.evidence import parse_evidence
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from tests.attestation.vtpm.forgeries import DATA, ISSUED, PCRS, SNP, TDX


def test_collateral_is_for_the_hardware_and_not_for_its_family_alone() -> None:
    """Enclaves and trust domains of one family have TCB info of their own."""
    quote = parse_evidence(TDX.evidence(DATA, PCRS))
    enclave = parse_evidence(sgx_quote(SimulatedPki(), EnclaveFields(bytes(32))))
    of_tdx, of_sgx = (SimulatedPki(tee=tee).issue(ISSUED) for tee in ("TDX", "SGX"))
    assert (of_tdx.is_for(quote), of_sgx.is_for(quote)) == (True, False)
    assert (of_tdx.is_for(enclave), of_sgx.is_for(enclave)) == (False, True)
    above_snp = parse_evidence(SNP.evidence(DATA, PCRS))
    assert (SNP.amd.issue(ISSUED).is_for(above_snp), of_tdx.is_for(above_snp)) == (True, False)
