"""What a run gives back: one record, the same for every verb and transport."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RunResult(BaseModel):
    """A finished run.

    Attributes:
        mode: ``hfl`` or ``sdt``.
        transport: ``ra-tls``, ``memory`` or ``PLAINTEXT``.
        tee: ``SIMULATED``, ``sgx``, ``tdx``, or ``none`` for transports without attestation.
        nodes: Number of nodes.
        steps: Updates applied.
        examples: Examples trained, all epochs.
        seconds: Training time, set-up and evaluation apart.
        samples_per_second: Examples per second of training.
        train_loss: Mean loss over the last epoch.
        validation_auc: Area under the ROC curve; absent where a class or examples lack.
        test_auc: Likewise, on the test part.
        test_logloss: Mean log loss on the test part.
        test_accuracy: Share of test examples on whose label the prediction agrees.
        test_calibration: Mean prediction over mean label on the test part.
        model_digest: Digest of the model.
        contract_digest: Digest of the contract that the nodes ran under.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Literal["hfl", "sdt"]
    transport: Literal["ra-tls", "memory", "PLAINTEXT"]
    tee: Literal["SIMULATED", "sgx", "tdx", "none"]
    nodes: int
    steps: int
    examples: int
    seconds: float
    samples_per_second: float
    train_loss: float
    validation_auc: float | None
    test_auc: float | None
    test_logloss: float | None
    test_accuracy: float | None
    test_calibration: float | None
    model_digest: Hex32
    contract_digest: Hex32
