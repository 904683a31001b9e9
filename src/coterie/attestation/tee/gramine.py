"""Intel SGX through Gramine: quotes from the pseudo-files of its library OS.

``/dev/attestation/user_report_data`` and ``quote`` exist once per process, not per open file, so a
lock makes all quotes of a process one after the other. Source: Gramine documentation, "Attestation
and Secret Provisioning".
"""

from __future__ import annotations

import threading
from pathlib import Path

from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import (
    READ_LIMIT,
    REPORT_DATA_BYTES,
    checked_quote,
    partly_taken,
    require_report_data,
    unfit,
)
from coterie.attestation.tee.files import KernelFiles, SystemFiles
from coterie.kinds import TeeKind

ATTESTATION_FOLDER = "dev/attestation"
_SOURCE = "Gramine's /dev/attestation"
_ONE_PER_PROCESS = threading.Lock()
_MEASUREMENT_BYTES = 32


class GramineTee:
    """The SGX enclave that this process runs in.

    Args:
        root: Root of the file tree.
        files: Operations on its files.
    """

    def __init__(self, root: Path = Path("/"), *, files: KernelFiles | None = None) -> None:
        self._folder = root / ATTESTATION_FOLDER
        self._files = files or SystemFiles()

    @property
    def kind(self) -> TeeKind:
        """Always ``sgx``."""
        return "sgx"

    def quote(self, report_data: bytes) -> bytes:
        """Returns a quote v3 over ``report_data`` (64 bytes).

        Raises:
            EnvironmentUnfit: The pseudo-files are missing, fail, or give other data.
        """
        require_report_data(report_data)
        with _ONE_PER_PROCESS:
            try:
                taken = self._files.write(self._folder / "user_report_data", report_data)
            except OSError as error:
                raise unfit(_SOURCE, "take report data", error) from error
            # Gramine pads a short write with zeros: a second write would set other report data.
            if taken != REPORT_DATA_BYTES:
                raise partly_taken(_SOURCE, taken, "update Gramine")
            try:
                data = self._files.read(self._folder / "quote", READ_LIMIT)
            except OSError as error:
                raise unfit(_SOURCE, "make a quote", error) from error
        return checked_quote(data, report_data, _SOURCE)

    def measurement(self) -> bytes | None:
        """This enclave's own MRENCLAVE (32 bytes), or None if Gramine does not give it."""
        try:
            info = self._files.read(self._folder / "my_target_info", READ_LIMIT)
        except OSError:
            return None
        return info[:_MEASUREMENT_BYTES] if len(info) >= _MEASUREMENT_BYTES else None

    def describe(self) -> TeeDescription:
        """Describes the enclave for people."""
        measurement = self.measurement()
        return TeeDescription(
            kind="sgx",
            measurement=None if measurement is None else measurement.hex(),
            details="Intel SGX through Gramine; quotes by the platform's quoting enclave",
        )
