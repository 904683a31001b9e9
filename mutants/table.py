"""The whole table, module by module of the project."""

from __future__ import annotations

from mutants.in_attestation import MUTATIONS as ATTESTATION
from mutants.in_beside_evidence import MUTATIONS as BESIDE_EVIDENCE
from mutants.in_chains import MUTATIONS as CHAINS
from mutants.in_checkpoints import MUTATIONS as CHECKPOINTS
from mutants.in_key_server import MUTATIONS as KEYSERVER
from mutants.in_kinds import MUTATIONS as KINDS
from mutants.in_metrics import MUTATIONS as METRICS
from mutants.in_ps import MUTATIONS as PS
from mutants.in_quotes import MUTATIONS as QUOTES
from mutants.in_ratls import MUTATIONS as RATLS
from mutants.in_ratls_session import MUTATIONS as SESSION
from mutants.in_schedules import MUTATIONS as SCHEDULES
from mutants.in_sealed_files import MUTATIONS as SEALING
from mutants.in_segments import MUTATIONS as SEGMENTS
from mutants.in_snp import MUTATIONS as SNP
from mutants.in_snp_policies import MUTATIONS as SNP_POLICIES
from mutants.in_start import MUTATIONS as START
from mutants.in_tensorflow_calls import MUTATIONS as TENSORFLOW_CALLS
from mutants.in_traces import MUTATIONS as TRACES
from mutants.in_training import MUTATIONS as TRAINING
from mutants.in_vouchers import MUTATIONS as VOUCHERS
from mutants.in_vtpm import MUTATIONS as VTPM

TABLE = (
    *TRAINING,
    *PS,
    *SCHEDULES,
    *SEGMENTS,
    *CHECKPOINTS,
    *VOUCHERS,
    *SESSION,
    *RATLS,
    *QUOTES,
    *CHAINS,
    *ATTESTATION,
    *SNP,
    *SNP_POLICIES,
    *KEYSERVER,
    *SEALING,
    *METRICS,
    *TRACES,
    *START,
    *TENSORFLOW_CALLS,
    *KINDS,
    *VTPM,
    *BESIDE_EVIDENCE,
)
