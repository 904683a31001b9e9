"""A contract's own model is data: listed layers and options, each below what it uses; else refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import (
    Contract,
    KerasModelSection,
    canonical_json,
    contract_digest,
    contract_from_json,
    parse_contract,
)
from coterie.contract.layers import ACTIVATIONS, LAYERS
from coterie.errors import ContractInvalid
from coterie.parameters.initial import initial_dense
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
HFL = (EXAMPLES / "hfl.toml").read_text()
MODEL = """
[model]
kind = "keras"
embedding_dim = 4

[[model.layers]]
name = "flat"
kind = "Flatten"
inputs = ["embedded"]

[[model.layers]]
name = "joined"
kind = "Concatenate"
inputs = ["numeric", "flat"]
options = { axis = -1 }

[[model.layers]]
name = "hidden"
kind = "Dense"
inputs = ["joined"]
options = { units = 8, activation = "relu" }

[[model.layers]]
name = "norm"
kind = "LayerNormalization"
inputs = ["hidden"]
options = { axis = [-1], epsilon = 1e-3 }

[[model.layers]]
name = "logit"
kind = "Dense"
inputs = ["norm"]
options = { units = 1 }

[[model.parameters]]
name = "hidden/kernel"
shape = [117, 8]
standard_deviation = 0.1

[[model.parameters]]
name = "norm/gamma"
shape = [8]
standard_deviation = 0
mean = 1.0
"""


def parse(model: str = MODEL) -> Contract:
    return parse_contract((HFL + model).encode(), "own.toml")


def own(contract: Contract) -> KerasModelSection:
    assert isinstance(contract.model, KerasModelSection)
    return contract.model


def replaced(old: str, new: str) -> str:
    assert old in MODEL, f"the model no longer holds {old!r}"
    return MODEL.replace(old, new, 1)


def test_the_canonical_form_is_read_back_to_the_same_digest() -> None:
    contract = parse()
    again = contract_from_json(canonical_json(contract), "json")
    assert contract_digest(again) == contract_digest(contract)
    assert again.model == contract.model


def test_the_section_can_be_written_as_toml_and_read_back() -> None:
    contract = parse()
    assert parse("\n" + own(contract).to_toml()).model == contract.model


def test_every_part_of_the_model_is_in_the_digest() -> None:
    digests = {
        contract_digest(parse(replaced(old, new)))
        for old, new in (
            ("= 8,", "= 9,"),
            ('"relu"', '"tanh"'),
            ("1e-3", "1e-4"),
            ("[117, 8]", "[118, 8]"),
            ("= 0.1", "= 0.2"),
            ("mean = 1.0", "mean = 0.5"),
            ("embedding_dim = 4", "embedding_dim = 8"),
            ('["numeric", "flat"]', '["flat", "numeric"]'),
        )
    }
    assert len(digests | {contract_digest(parse())}) == 9


def test_the_server_starts_parameters_from_the_section_alone() -> None:
    contract = parse()
    parameters = contract.model.dense_parameters(contract.data)
    assert [p.shape for p in parameters] == [(117, 8), (8,)]
    values = initial_dense(7, parameters)
    assert values.dtype == np.float32
    assert values[: 117 * 8].std() == pytest.approx(0.1, rel=0.1)
    assert abs(values[: 117 * 8].mean()) < 0.02
    assert values[117 * 8 :].tolist() == [1.0] * 8


@pytest.mark.parametrize("kind", ["Lambda", "BatchNormalization", "Dropout", "Input", "TFSMLayer",
                                  "coterie>DotInteraction", "__import__", "Model", ""])  # fmt: skip
def test_a_layer_that_is_not_listed_is_refused(kind: str) -> None:
    with pytest.raises(ContractInvalid, match="not valid") as refusal:
        parse(replaced('kind = "Flatten"', f'kind = "{kind}"'))
    assert "model.layers.0" in refusal.value.seen
    assert f"layer flat is a {kind!r}, which a contract cannot hold" in refusal.value.seen


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("units = 8,", "units = 0,", "does not take units = 0"),
        ("units = 8,", "units = 65537,", "does not take units = 65537"),
        ("units = 8,", "units = true,", "does not take units = True"),
        ("units = 8,", 'units = "8",', "does not take units = '8'"),
        ('"relu"', '"os.system"', "does not take activation = 'os.system'"),
        ('"relu"', '"coterie>relu"', "does not take activation"),
        ("axis = -1", "axis = 0", "does not take axis = 0"),
        ("axis = [-1]", "axis = [1, 0]", "does not take axis"),
        ("axis = [-1]", "axis = -2", "does not take axis"),
        (
            'kind = "Flatten"',
            'kind = "Reshape"\noptions = { target_shape = [1024, 1025] }',
            "does not take target_shape = [1024, 1025]",
        ),
        (
            'kind = "Flatten"',
            'kind = "Reshape"\noptions = { target_shape = [-1, 1048577] }',
            "does not take target_shape",
        ),
        ("epsilon = 1e-3", "epsilon = nan", "model.layers.3.options.epsilon"),
        ("epsilon = 1e-3", "kernel_regularizer = 'l2'", "has no option 'kernel_regularizer'"),
        ("units = 8,", "units = 8, dtype = 'float16',", "has no option 'dtype'"),
        ("units = 8,", "units = 8, fn = { class_name = 'x' },", "model.layers.2.options.fn"),
        ('["numeric", "flat"]', '["flat"]', "Concatenate takes 2 to 64 inputs, not 1"),
        ('inputs = ["norm"]', 'inputs = ["norm", "flat"]', "Dense takes 1 to 1 inputs, not 2"),
        ('["numeric", "flat"]', '["numeric", "norm"]', "joined uses norm, which is no layer above"),
        ('inputs = ["norm"]', 'inputs = ["logit"]', "logit uses logit, which is no layer above it"),
        ('inputs = ["norm"]', 'inputs = ["hidden"]', "nothing uses norm"),
        ('["numeric", "flat"]', '["flat", "flat"]', "nothing uses numeric"),
        ('name = "norm"', 'name = "hidden"', "layer name hidden is used twice"),
        ('name = "norm"', 'name = "numeric"', "layer name numeric is used twice, or is that of an"),
        ('name = "norm"', 'name = "../x"', "model.layers.3.name"),
        ('"hidden/kernel"', '"flat/kernel"', "parameter flat/kernel belongs to no layer"),
        ('"hidden/kernel"', '"hidden/gamma"', "parameter hidden/gamma belongs to no layer"),
        ('"norm/gamma"', '"hidden/kernel"', "parameter hidden/kernel is listed twice"),
        ("[117, 8]", "[0, 8]", "model.parameters.0.shape.0"),
        ("standard_deviation = 0.1", "standard_deviation = -1", "model.parameters.0"),
        ("embedding_dim = 4", "embedding_dim = 0", "model.embedding_dim"),
        ("embedding_dim = 4", "embedding_dim = 4\nbottom = [4]", "model.bottom: unknown key"),
        ('kind = "keras"', 'kind = "dcn"', 'model: model.kind must be "dlrm" or "keras"'),
        ("[117, 8]", "[16777216, 64]", "a step's message may need"),
    ],
)
def test_what_is_wrong_in_a_model_is_named(old: str, new: str, seen: str) -> None:
    with pytest.raises(ContractInvalid) as refusal:
        parse(replaced(old, new))
    assert seen in refusal.value.seen


def test_the_dlrm_takes_no_layers() -> None:
    with pytest.raises(ContractInvalid) as refusal:
        parse("[[model.layers]]\nname = 'x'\n")
    assert refusal.value.seen == "model.layers: unknown key"


def test_models_are_bounded() -> None:
    value = json.loads(canonical_json(parse()))
    value["model"]["layers"] = [value["model"]["layers"][0]] * 257
    with pytest.raises(ContractInvalid, match="not valid") as refusal:
        contract_from_json(json.dumps(value).encode(), "peer")
    assert "at most 256 items" in refusal.value.seen


def test_nothing_that_is_listed_holds_code_or_hidden_state() -> None:
    assert not set(LAYERS) & {"Lambda", "Dropout", "BatchNormalization", "RNN", "Wrapper"}
    assert all(name.isidentifier() for name in [*LAYERS, *ACTIVATIONS])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = ("name", "kind", "inputs", "options", "shape", "mean", "standard_deviation")


@given(
    part=st.sampled_from(["layers", "parameters"]),
    place=st.integers(0, 4),
    key=st.sampled_from(KEYS) | st.text(max_size=5),
    value=JSON,
)
def test_whatever_a_peer_sends_is_a_contract_or_refused(
    part: str, place: int, key: str, value: object
) -> None:
    sent = json.loads(canonical_json(parse()))
    entries = sent["model"][part]
    entries[place % len(entries)][key] = value
    try:
        contract = contract_from_json(json.dumps(sent).encode(), "peer")
    except ContractInvalid:
        return
    assert contract_from_json(canonical_json(contract), "again").model == contract.model


@given(JSON)
def test_whatever_a_peer_calls_a_model_is_refused(value: object) -> None:
    sent = json.loads(canonical_json(parse()))
    sent["model"] = value
    if value == {}:
        return  # the DLRM of default sizes
    with pytest.raises(ContractInvalid):
        contract_from_json(json.dumps(sent).encode(), "peer")


BEHIND = '\n[[model.layers]]\nname = "last"\nkind = "{}"\ninputs = ["logit"]\n'


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS - {"linear", "leaky_relu"}))
@pytest.mark.parametrize("behind", ["", BEHIND.format("Flatten"), BEHIND.format("Reshape")])
def test_a_model_that_ends_with_a_bounded_output_is_refused(activation: str, behind: str) -> None:
    text = replaced(
        "options = { units = 1 }",
        f'options = {{ units = 1, activation = "{activation}" }}\n{behind}',
    )
    with pytest.raises(ContractInvalid) as refusal:
        parse(text)
    assert f"layer logit ends the model with activation {activation!r}" in refusal.value.seen
    assert "taken for a logit" in refusal.value.seen


@pytest.mark.parametrize(
    "last",
    [
        '"Activation"\noptions = { activation = "sigmoid" }',
        '"Softmax"',
        '"ReLU"',
        '"UnitNormalization"',
    ],
)
def test_so_is_a_last_layer_that_bounds_it(last: str) -> None:
    text = replaced(
        "options = { units = 1 }", "options = { units = 1 }\n" + BEHIND.replace('"{}"', last)
    )
    with pytest.raises(ContractInvalid, match="not valid") as refusal:
        parse(text)
    assert "layer last ends the model with" in refusal.value.seen


@pytest.mark.parametrize("activation", ["linear", "leaky_relu"])
def test_an_output_of_any_number_is_a_logit(activation: str) -> None:
    parse(
        replaced(
            "options = { units = 1 }", f'options = {{ units = 1, activation = "{activation}" }}'
        )
    )


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("Dropout", "the same bits"),
        ("GaussianNoise", "the same bits"),
        ("BatchNormalization", "LayerNormalization"),
    ],
)
def test_a_layer_that_is_asked_for_is_refused_with_the_reason(kind: str, why: str) -> None:
    with pytest.raises(ContractInvalid) as refusal:
        parse(replaced('kind = "Flatten"', f'kind = "{kind}"'))
    assert why in refusal.value.seen
