"""The contract: the file that all parties agree on and sign."""

from coterie.contract.data import DataSection
from coterie.contract.digest import (
    agreed_digest,
    canonical_json,
    contract_digest,
    data_digest,
    differences,
)
from coterie.contract.keras_model import KerasModelSection, LayerSection, ParameterSection
from coterie.contract.loading import contract_from_json, load_contract, parse_contract, with_section
from coterie.contract.model import DenseParameter, ModelSection
from coterie.contract.schema import (
    MAX_STEP_BYTES,
    AnyModelSection,
    Contract,
    Node,
    Party,
    ResultsSection,
)
from coterie.contract.start import StartSection, start_data
from coterie.contract.tensorflow import TensorFlowSection
from coterie.contract.training import (
    DenseOptimizer,
    EnclaveSection,
    LimitsSection,
    LocalSection,
    RateSchedule,
    RowOptimizer,
    TrainingSection,
    ValidationSection,
)
from coterie.contract.trust import RoleTrust, TrustSection

__all__ = [
    "MAX_STEP_BYTES",
    "AnyModelSection",
    "Contract",
    "DataSection",
    "DenseOptimizer",
    "DenseParameter",
    "EnclaveSection",
    "KerasModelSection",
    "LayerSection",
    "LimitsSection",
    "LocalSection",
    "ModelSection",
    "Node",
    "ParameterSection",
    "Party",
    "RateSchedule",
    "ResultsSection",
    "RoleTrust",
    "RowOptimizer",
    "StartSection",
    "TensorFlowSection",
    "TrainingSection",
    "TrustSection",
    "ValidationSection",
    "agreed_digest",
    "canonical_json",
    "contract_digest",
    "contract_from_json",
    "data_digest",
    "differences",
    "load_contract",
    "parse_contract",
    "start_data",
    "with_section",
]
