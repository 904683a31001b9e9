"""Mutations of reading SEV-SNP evidence: reports, certificates of signing keys, TCB versions."""

from __future__ import annotations

from mutants.mutation import Of

_TESTS = (
    "attestation/snp/test_snp_refusals.py",
    "attestation/snp/test_snp_evidence.py",
    "attestation/snp/test_snp_report.py",
)
_report = Of("attestation/snp/report.py", "attestation/snp/test_snp_report.py")
_quote = Of("attestation/snp/quote.py", "attestation/snp/test_snp_report.py")
_recognition = Of("attestation/recognition.py", "attestation/test_recognition.py")
_certificates = Of("attestation/snp/certificates.py", *_TESTS)
_endorsement = Of("attestation/snp/endorsement.py", *_TESTS)
_products = Of("attestation/snp/products.py", *_TESTS)
_tsm = Of("attestation/tee/tsm.py", "attestation/test_tee_readers.py")
_endorsements = Of("attestation/snp/endorsements.py", "attestation/snp/test_snp_tee.py")

MUTATIONS = (
    _report(
        "any-version",
        "    if version not in _POLICY_BITS:\n",
        "    version = version if version in _POLICY_BITS else 5\n    if not version:\n",
        "a version that nobody knows is read as if it were version 5",
    ),
    _report(
        "any-algorithm",
        "if algorithm != ECDSA_P384_SHA384:",
        "if not algorithm:",
        "another signature algorithm's report is read",
    ),
    _report(
        "a-hosts-report",
        "if vmpl > _HIGHEST_VMPL:",
        "if vmpl < 0:",
        "a report that the host asked for stands for a guest's",
    ),
    _report(
        "signature-withheld",
        "if signing_key is None or key_info & 2:",
        "if signing_key is None:",
        "a report whose signature the host withholds is read",
    ),
    _report(
        "reserved-bytes",
        "        if any(value):\n            raise _refused(\n",
        "        if not name:\n            raise _refused(\n",
        "what a later firmware says there is read over",
    ),
    _report(
        "policy-bits-of-a-later-version",
        "_POLICY_BITS = {2: (1 << 25) - 1, 3: (1 << 25) - 1,",
        "_POLICY_BITS = {2: (1 << 26) - 1, 3: (1 << 26) - 1,",
        "a bit that a version does not have is read over",
    ),
    _report(
        "platform-bits-of-a-later-version",
        "_PLATFORM_BITS = {2: 0x1F, 3: 0x7F,",
        "_PLATFORM_BITS = {2: 0x3F, 3: 0x7F,",
        "a version that knows no check for aliases says that it was made",
    ),
    _report(
        "author-is-signer",
        "        id_key,\n        author_key,\n        report_id,\n",
        "        author_key,\n        id_key,\n        report_id,\n",
        "the id key is compared with the author's values",
    ),
    _report(
        "firmware-reversed",
        "Firmware(committed[2], committed[1], committed[0])",
        "Firmware(committed[0], committed[1], committed[2])",
        "a build number counts as the major version",
    ),
    _quote(
        "any-size",
        "if len(data) > MAX_EVIDENCE_BYTES:",
        "if len(data) < 0:",
        "evidence is bounded by the table of certificates alone",
    ),
    _quote(
        "any-certificates",
        "if tuple(name for name, _ in entries) != wanted:",
        "if len(entries) != len(wanted):",
        "certificates under other names are read as the chain",
    ),
    _quote(
        "gaps",
        "if encode_table(entries) != data[REPORT_BYTES:]:",
        "if not entries:",
        "bytes that no signature covers stand between certificates",
    ),
    _quote(
        "out-of-the-table",
        "if place + size > len(data):",
        "if place > len(data) + size:",
        "an entry points out of its table",
    ),
    _quote(
        "table-of-any-size",
        "if len(data) > MAX_TABLE_BYTES:",
        "if len(data) < 0:",
        "a host makes its guest parse any amount",
    ),
    _recognition(
        "dcap-is-snp",
        'return len(data) > _SNP_LEAST and data[2:4] == b"\\0\\0"',
        "return len(data) > _SNP_LEAST",
        "a DCAP quote is read as a report",
    ),
    _certificates(
        "any-root",
        "if spki == pinned), None)",
        "if spki), None)",
        "a chain ends at anybody's root",
    ),
    _certificates(
        "any-name",
        "        one.common_name != name\n        or one.organization",
        "        one.organization",
        "the CA of VLEKs, or of another product line, vouches for a chip",
    ),
    _certificates(
        "any-organization",
        "        or one.organization != roots.organization\n",
        "",
        "another organization's certificate has the role",
    ),
    _certificates(
        "ca-may-be-a-leaf",
        "or one.ca is not is_ca",
        "or (one.ca and not is_ca)",
        "a signing key issues certificates",
    ),
    _certificates(
        "leaf-may-be-a-ca",
        "or one.ca is not is_ca",
        "or (is_ca and not one.ca)",
        "a CA's key signs reports",
    ),
    _certificates(
        "any-usage",
        "        or not usages <= one.usages\n",
        "",
        "a key that may not sign certificates does",
    ),
    _certificates(
        "signatures-not-checked",
        "    if not all(_holds(*pair) for pair in (*pairwise(chain), (root, root))):\n",
        "    if not chain:\n",
        "a certificate is under a CA that never signed it",
    ),
    _certificates(
        "first-signature-only",
        "all(_holds(*pair) for pair in (*pairwise(chain), (root, root)))",
        "_holds(chain[0], chain[1])",
        "a CA is under a root that never signed it",
    ),
    _certificates(
        "root-unsigned",
        "(*pairwise(chain), (root, root))",
        "pairwise(chain)",
        "a root's validity and constraints may be altered",
    ),
    _certificates(
        "another-issuer",
        "if certificate.issuer != issuer.subject:",
        "if not certificate.issuer:",
        "what names another issuer is under whoever has the key",
    ),
    _certificates(
        "not-yet-valid",
        "if not one.not_before <= at <= one.not_after:",
        "if not at <= one.not_after:",
        "a certificate of tomorrow is valid",
    ),
    _certificates(
        "expired",
        "if not one.not_before <= at <= one.not_after:",
        "if not one.not_before <= at:",
        "an expired certificate is valid",
    ),
    _certificates(
        "last-end-counts",
        "return min(one.not_after for one in chain)",
        "return max(one.not_after for one in chain)",
        "a verdict outlives the chain",
    ),
    _certificates(
        "another-algorithm",
        "if algorithm not in _ALGORITHMS or der",
        "if der",
        "a certificate says another algorithm inside of what is signed",
    ),
    _certificates(
        "another-encoding",
        " or der != tlv(0x30, signed + outside):",
        " or not outside:",
        "bytes that no signature covers surround a certificate",
    ),
    _certificates(
        "any-size",
        "if len(der) > MAX_CERTIFICATE_BYTES:",
        "if len(der) < 0:",
        "a certificate is bounded by the evidence alone",
    ),
    _certificates(
        "extension-twice",
        'if oid in extensions or (one["critical"].native and not known):',
        'if one["critical"].native and not known:',
        "two parsers read two chips of one certificate",
    ),
    _certificates(
        "extension-critical",
        'if oid in extensions or (one["critical"].native and not known):',
        "if oid in extensions:",
        "what must not be read over is",
    ),
    _endorsement(
        "chip-in-a-vlek",
        "if vlek is (HARDWARE_ID in values) or vlek is not (CSP_ID in values):",
        "if vlek is not (CSP_ID in values):",
        "a VLEK that names a chip serves on any chip",
    ),
    _endorsement(
        "provider-in-a-vcek",
        "if vlek is (HARDWARE_ID in values) or vlek is not (CSP_ID in values):",
        "if vlek is (HARDWARE_ID in values):",
        "a VCEK that names a cloud provider passes for one that does not",
    ),
    _endorsement(
        "any-product",
        "line[1] != product.name or not fits",
        "not fits",
        "a key of one product line is under another's root",
    ),
    _endorsement(
        "any-processor",
        "line[1] != product.name or not fits",
        "line[1] != product.name",
        "a report by a processor of another product line is read by this one's layout",
    ),
    _endorsement(
        "any-tcb",
        "    if reported != tcb:\n",
        "    if reported is None:\n",
        "a key of an old TCB signs for a new one",
    ),
    _endorsement(
        "any-chip",
        "if chip_id is not None and chip_id != report.chip_id:",
        "if chip_id is not None and not report.chip_id:",
        "the key of one chip signs for another",
    ),
    _endorsement(
        "chip-of-zeros",
        "if len(value) not in sizes or not any(value):",
        "if len(value) not in sizes:",
        "a certificate for no chip is one for all chips that their hosts hide",
    ),
    _endorsement(
        "short-chip-id",
        "sizes = {CHIP_ID_BYTES, SHORT_ID_BYTES} if product.short_id else {CHIP_ID_BYTES}",
        "sizes = {CHIP_ID_BYTES, SHORT_ID_BYTES}",
        "a chip's id has the length of another product line's",
    ),
    _endorsement(
        "reserved-patch-levels",
        "    if any(oid in values and _integer(values, oid) for oid in RESERVED_OIDS):\n",
        "    if not values:\n",
        "a patch level that nobody knows is read over",
    ),
    _endorsement(
        "number-of-any-form",
        "if value[:2] != bytes((_INTEGER, len(content))) or content != minimal:",
        "if value[:2] != bytes((_INTEGER, len(content))):",
        "a patch level has several encodings, and may be negative",
    ),
    _products(
        "reserved-bytes",
        "        if any(byte for byte, part in zip(raw, self.layout, strict=True) if part is None):\n",
        "        if not raw:\n",
        "a TCB version by another layout is read by this one",
    ),
    _products(
        "early-layout",
        '_EARLY = ("bootloader", "tee", None, None, None, None, "snp", "microcode")',
        '_EARLY = ("bootloader", "tee", None, None, None, None, "microcode", "snp")',
        "the microcode's level is compared with the firmware's floor",
    ),
    _products(
        "late-layout",
        '_LATE = ("fmc", "bootloader", "tee", "snp", None, None, None, "microcode")',
        '_LATE = ("bootloader", "fmc", "tee", "snp", None, None, None, "microcode")',
        "the boot loader's level is compared with another part's floor",
    ),
    _products(
        "absent-part",
        "        return seen is not least\n",
        "        return False\n",
        "a part that a floor demands may be absent",
    ),
    _products(
        "floor-off-by-one",
        "return seen < least",
        "return seen <= least",
        "the very level that is demanded is refused",
    ),
    _endorsements(
        "any-file",
        "return checked_vcek(found, str(path))",
        "return found",
        "a file that is no certificate is sent to peers",
    ),
    _tsm(
        "any-generation",
        'whole = self._number(entry, "generation") == before + writes',
        "whole = before >= 0 and writes > 0",
        "a report over another process's data is taken for one's own",
    ),
    _tsm(
        "any-provider",
        "if provider != self._provider.encode():",
        "if not provider:",
        "a report of another kind of TEE is read as one of this",
    ),
)
