"""The whole table, folder by folder."""

from __future__ import annotations

from mutants.in_attestation import MUTATIONS as ATTESTATION
from mutants.in_checkpoints import MUTATIONS as CHECKPOINTS
from mutants.in_keys import MUTATIONS as KEYS
from mutants.in_metrics import MUTATIONS as METRICS
from mutants.in_ps import MUTATIONS as PS
from mutants.in_ratls import MUTATIONS as RATLS

TABLE = (*PS, *CHECKPOINTS, *RATLS, *ATTESTATION, *KEYS, *METRICS)
