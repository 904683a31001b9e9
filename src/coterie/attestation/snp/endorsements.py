"""Certificates of a signing key, which a host may or may not give to its guests along with the report.

Nobody is trusted for them: AMD signs them, and whoever gets the evidence verifies them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol

from coterie.attestation.pem import PemMalformed, decode_chain, encode
from coterie.attestation.snp.certificates import MAX_CERTIFICATE_BYTES, read_certificate
from coterie.attestation.snp.products import PRODUCTS, Product
from coterie.attestation.snp.quote import CA, LEAVES, ROOT, read_table
from coterie.attestation.snp.report import SnpReport
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from coterie.files import make_folder, read_bounded, write_whole
from coterie.kinds import SigningKey

CA_CHAIN_LENGTH = 2
# The product lines whose firmware gave reports of version 2.
_OF_VERSION_2 = (PRODUCTS["Milan"], PRODUCTS["Genoa"])
MAX_PEM_BYTES = 3 * CA_CHAIN_LENGTH * MAX_CERTIFICATE_BYTES


class EndorsementSource(Protocol):
    """Finds certificates of signing keys."""

    def ca_chain(self, product: Product, key: SigningKey) -> tuple[bytes, bytes]:
        """Certificates of a product line's CA and root, DER.

        Raises:
            EnvironmentUnfit: They cannot be had.
        """
        ...

    def vcek(self, product: Product, report: SnpReport) -> bytes:
        """Certificate of a chip's own key for the TCB that a report names, DER.

        Raises:
            EnvironmentUnfit: It cannot be had.
        """
        ...


def completed(
    report: SnpReport, table: bytes, source: EndorsementSource | None
) -> tuple[bytes, bytes, bytes]:
    """The chain of a report's signing key: what the host gave, completed by a source.

    Args:
        report: The report.
        table: The host's table of certificates; may be empty.
        source: Finds what is missing.

    Raises:
        EnvironmentUnfit: A certificate is missing and there is no source, or it does not have it.
        EvidenceRefused: The host's table is malformed.
    """
    given = dict(read_table(table))
    leaf, ca, root = (given.get(name) for name in (LEAVES[report.signing_key], CA, ROOT))
    if leaf is not None and ca is not None and root is not None:
        return leaf, ca, root
    if source is None:
        raise _missing(report, "none" if leaf is None else "the signing key's alone")
    if leaf is None:
        if report.signing_key == "vlek":
            raise _missing(report, "none, and AMD gives a VLEK's only to its cloud provider")
        leaf = _vcek(report, source)
    return leaf, *source.ca_chain(_product(report, leaf), report.signing_key)


def _vcek(report: SnpReport, source: EndorsementSource) -> bytes:
    """The certificate of a chip's own key, of the product line that has it."""
    if report.cpuid is not None:
        return source.vcek(_product(report, None), report)
    # A report of version 2 does not name the processor. Ids of chips are random: one line has this.
    *others, last = _OF_VERSION_2
    for product in others:
        with suppress(EnvironmentUnfit):
            return source.vcek(product, report)
    return source.vcek(last, report)


def _product(report: SnpReport, leaf: bytes | None) -> Product:
    """The product line: by the processor's CPUID, or by the name of the signing key's CA."""
    found = None
    if report.cpuid is not None:
        family, model, _ = report.cpuid
        found = next((one for one in PRODUCTS.values() if one.has_cpuid(family, model)), None)
    elif leaf is not None:
        issuer = read_certificate(leaf).issuer
        found = next((one for one in PRODUCTS.values() if issuer.endswith(one.name.encode())), None)
    if found is None:
        raise EnvironmentUnfit(
            "the product line of this processor is not known",
            expected=" or ".join(PRODUCTS),
            seen=f"CPUID {report.cpuid}" if report.cpuid else "a certificate of another CA",
            remedy="update the platform's firmware, or let the host give all certificates",
        )
    return found


def _missing(report: SnpReport, seen: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"the certificates of this guest's {report.signing_key.upper()} are not all here",
        expected="certificates of signing key, CA and root from the host, or a source of them",
        seen=seen,
        remedy="give --kds-url, the address of AMD's key distribution service or of a cache of it, or "
        "a folder with the chain (--collateral)",
    )


class EndorsementFolder:
    """Certificates in files: ``snp-PRODUCT-KEY.pem`` (CA, root) and ``snp-vcek-CHIP-TCB.der``.

    Args:
        folder: The directory.
        source: Asked for what is not there; its answers are kept.
    """

    def __init__(self, folder: Path, source: EndorsementSource | None = None) -> None:
        self._folder = folder
        self._source = source

    def ca_chain(self, product: Product, key: SigningKey) -> tuple[bytes, bytes]:
        """Reads the file of a product line, or asks the source."""
        path = self._folder / f"snp-{product.name.lower()}-{key}.pem"
        found = self._read(path, MAX_PEM_BYTES)
        if found is not None:
            return read_ca_chain(found, str(path))
        if self._source is None:
            raise _no_file(path)
        ca, root = self._source.ca_chain(product, key)
        self._keep(path, (encode(ca) + encode(root)).encode())
        return ca, root

    def vcek(self, product: Product, report: SnpReport) -> bytes:
        """Reads the file of a chip and TCB, or asks the source."""
        name = f"snp-vcek-{report.chip_id[:8].hex()}-{report.reported_tcb.hex()}.der"
        path = self._folder / name
        found = self._read(path, MAX_CERTIFICATE_BYTES)
        if found is not None:
            return checked_vcek(found, str(path))
        if self._source is None:
            raise _no_file(path)
        found = self._source.vcek(product, report)
        self._keep(path, found)
        return found

    def _read(self, path: Path, most: int) -> bytes | None:
        try:
            return read_bounded(path, most)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unfit(path, error) from error

    def _keep(self, path: Path, content: bytes) -> None:
        try:
            make_folder(self._folder)
            write_whole(path, content)
        except OSError as error:
            raise _unfit(path, error) from error


def checked_vcek(der: bytes, source: str) -> bytes:
    """The certificate of a chip's own key, DER, as AMD's service gives it.

    Raises:
        EnvironmentUnfit: It is no certificate.
    """
    try:
        read_certificate(der)
    except EvidenceRefused as error:
        raise EnvironmentUnfit(
            f"{source} gives no certificate of a chip's own key",
            expected="a certificate in DER, as AMD gives it",
            seen=error.seen,
            remedy="check the address or the file; AMD's service gives it under vcek/v1",
        ) from error
    return der


def read_ca_chain(text: bytes, source: str) -> tuple[bytes, bytes]:
    """Reads certificates of CA and root, PEM, as AMD's service gives them.

    Raises:
        EnvironmentUnfit: They are not that.
    """
    try:
        ca, root = decode_chain(text.decode("ascii").strip(), CA_CHAIN_LENGTH)
        read_certificate(ca)
        read_certificate(root)
    except (UnicodeDecodeError, PemMalformed, ValueError, EvidenceRefused) as error:
        raise EnvironmentUnfit(
            f"{source} gives no certificates of an SNP signing key's CA and root",
            expected="two certificates in PEM",
            seen=str(error)[:200],
            remedy="check the address or the file; AMD's service gives them under cert_chain",
        ) from error
    return ca, root


def _no_file(path: Path) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        "a certificate of this guest's signing key is not in the folder",
        expected=str(path),
        seen="no such file",
        remedy="give --kds-url once: its answers are kept in the folder",
    )


def _unfit(path: Path, error: OSError) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"the certificate {path} cannot be used",
        expected="a folder that this user may use",
        seen=error.strerror or str(error),
        remedy="check the path and its permissions",
    )
