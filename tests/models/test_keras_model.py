"""Keras models become contract sections and come back as the same function."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coterie.contract import KerasModelSection, LayerSection
from coterie.contract.layers import ACTIVATIONS, LAYERS, OptionValue
from coterie.errors import ModelUnfit
from tests.lazily import Lazily

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor as Tensor
    from keras import layers

    from coterie.models import dlrm, keras_model
else:
    keras, layers = Lazily("keras"), Lazily("keras.layers")
    dlrm, keras_model = Lazily("coterie.models.dlrm"), Lazily("coterie.models.keras_model")

pytestmark = pytest.mark.tensorflow

NUMERIC, CATEGORICAL, DIM = 3, 5, 4


def model_of(body: Callable[[Tensor, Tensor], Tensor]) -> keras.Model:
    dense = keras.Input((NUMERIC,), name="features")
    embedded = keras.Input((CATEGORICAL, DIM), name="ids")
    return keras.Model([dense, embedded], body(dense, embedded))


def with_all_layers(dense: Tensor, embedded: Tensor) -> Tensor:
    """Uses every kind of layer that a contract can hold, once at least."""
    x = layers.Concatenate(axis=1)([dense, layers.Flatten()(embedded)])
    x = layers.LayerNormalization(name="norm")(x)
    y = layers.Dense(8, activation="gelu", use_bias=False)(x)
    y = layers.RMSNormalization()(layers.PReLU()(y))
    y = layers.UnitNormalization()(layers.LeakyReLU(negative_slope=0.1)(y))
    z = layers.Dense(8)(x)
    z = layers.Rescaling(2.0, 0.5)(layers.ELU()(layers.ReLU(max_value=6.0)(z)))
    merged = [
        layer()([y, z])
        for layer in (
            *(layers.Add, layers.Average, layers.Maximum, layers.Minimum),
            *(layers.Multiply, layers.Subtract),
        )
    ]
    merged.append(layers.Dot(axes=1)([y, z]))
    repeated = layers.Permute((2, 1))(layers.RepeatVector(3)(y))
    merged.append(layers.GlobalAveragePooling1D()(layers.Softmax()(repeated)))
    merged.append(layers.GlobalMaxPooling1D()(layers.Reshape((2, 4))(z)))
    merged.append(dlrm.DotInteraction()(embedded))
    return layers.Dense(1)(layers.Activation("tanh")(layers.Concatenate()(merged)))


def dlrm_by_hand(dense: Tensor, embedded: Tensor) -> Tensor:
    hidden = layers.Dense(DIM, activation="relu", name="bottom_0")(dense)
    stacked = layers.Concatenate(axis=1)([layers.Reshape((1, DIM))(hidden), embedded])
    top = layers.Concatenate()([hidden, dlrm.DotInteraction()(stacked)])
    return layers.Dense(1, name="top_0")(top)


def inputs(count: int = 6) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [
        random.random((count, NUMERIC), np.float32),
        random.normal(size=(count, CATEGORICAL, DIM)).astype(np.float32),
    ]


def rebuilt(section: KerasModelSection) -> keras.Model:
    listed = sum(math.prod(parameter.shape) for parameter in section.parameters)
    return keras_model.build_model(section.layers, NUMERIC, CATEGORICAL, DIM, parameters=listed)


@pytest.mark.parametrize("body", [with_all_layers, dlrm_by_hand])
def test_a_described_model_is_rebuilt_as_the_same_function(
    body: Callable[[Tensor, Tensor], Tensor],
) -> None:
    model = model_of(body)
    section = keras_model.describe_model(model)
    again = rebuilt(KerasModelSection.model_validate_json(section.model_dump_json()))
    values = {variable.path: variable.numpy() for variable in model.variables}
    for variable, parameter in zip(again.trainable_variables, section.parameters, strict=True):
        assert (variable.path, tuple(variable.shape)) == (parameter.name, parameter.shape)
        variable.assign(values[variable.path])
    np.testing.assert_allclose(
        again(inputs()).numpy(), model(inputs()).numpy()[:, 0], rtol=1e-6, atol=1e-6
    )


def test_every_kind_of_layer_is_tried() -> None:
    assert {
        layer.kind for layer in keras_model.describe_model(model_of(with_all_layers)).layers
    } == set(LAYERS)


def test_the_dlrm_by_hand_is_the_dlrm() -> None:
    rebuilt_dlrm = rebuilt(keras_model.describe_model(model_of(dlrm_by_hand)))
    core = dlrm.DLRMCore((DIM,), (1,))
    core.build(((None, NUMERIC), (None, CATEGORICAL, DIM)))
    flat = np.random.default_rng(0).normal(size=core.count_params()).astype(np.float32)
    dlrm.assign_flat(core.trainable_variables, flat)
    dlrm.assign_flat(rebuilt_dlrm.trainable_variables, flat)
    np.testing.assert_allclose(
        rebuilt_dlrm(inputs()).numpy(), core(inputs()).numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_that_is_listed_is_keras_s(activation: str) -> None:
    section = keras_model.describe_model(
        model_of(lambda d, e: layers.Dense(1)(layers.Dense(8, activation=activation)(flat(d, e))))
    )
    assert section.layers[-2].options["activation"] == activation
    assert rebuilt(section)(inputs()).shape == (6,)


@pytest.mark.parametrize(
    ("name", "arguments", "mean", "deviation"),
    [
        ("Zeros", (), 0, 0),
        ("Ones", (), 1, 0),
        ("Constant", (0.25,), 0.25, 0),
        ("GlorotUniform", (), 0, None),
        ("GlorotNormal", (), 0, None),
        ("HeNormal", (), 0, None),
        ("HeUniform", (), 0, None),
        ("LecunNormal", (), 0, None),
        ("RandomNormal", (0.5, 0.2), 0.5, None),
        ("TruncatedNormal", (0.5, 0.2), 0.5, None),
        ("RandomUniform", (-0.5, 1.5), 0.5, None),
    ],
)
def test_initial_values_keep_mean_and_deviation_of_the_initializer(
    name: str, arguments: tuple[float, ...], mean: float, deviation: float | None
) -> None:
    random = {} if deviation == 0 else {"seed": 1}
    initializer = getattr(keras.initializers, name)(*arguments, **random)
    hidden = layers.Dense(400, kernel_initializer=initializer, name="hidden")
    model = model_of(
        lambda d, e: layers.Dense(1)(hidden(layers.Concatenate()([d, layers.Flatten()(e)])))
    )
    (kernel,) = (
        p for p in keras_model.describe_model(model).parameters if p.name == "hidden/kernel"
    )
    drawn = hidden.kernel.numpy()
    assert kernel.mean == mean
    assert drawn.mean() == pytest.approx(kernel.mean, abs=0.05)
    if deviation is None:
        assert drawn.std() == pytest.approx(kernel.standard_deviation, rel=0.05)
    else:
        assert kernel.standard_deviation == deviation


def flat(dense: Tensor, embedded: Tensor) -> Tensor:
    return layers.Concatenate()([dense, layers.Flatten()(embedded)])


def doubled(x: Tensor) -> Tensor:
    class Doubled(layers.Layer):  # type: ignore[misc]  # Keras has no type stubs
        """A class of the user's own."""

        def call(self, x: Tensor) -> Tensor:
            return 2 * x

    return Doubled()(x)


def another_dense(x: Tensor) -> Tensor:
    class Dense(layers.Dense):  # type: ignore[misc]  # Keras has no type stubs
        """One that takes a listed name."""

    return Dense(1)(x)


def shared(dense: Tensor, embedded: Tensor) -> Tensor:
    layer = layers.Dense(NUMERIC + CATEGORICAL * DIM, name="shared")
    return layers.Dense(1)(layer(layer(flat(dense, embedded))))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (lambda d, e: layers.Dense(1)(layers.Dropout(0.5)(flat(d, e))), "a Dropout"),
        (lambda d, e: layers.Dense(1)(layers.Dropout(0.5)(flat(d, e))), "the same bits"),
        (lambda d, e: layers.Dense(1)(layers.BatchNormalization()(flat(d, e))), "a BatchNorm"),
        (lambda d, e: layers.Dense(1)(layers.Lambda(lambda x: x)(flat(d, e))), "a Lambda"),
        (lambda d, e: layers.Dense(1)(flat(d, e) * 2.0), "a Multiply"),
        (lambda d, e: layers.Dense(1)(doubled(flat(d, e))), "a Doubled"),
        (lambda d, e: another_dense(flat(d, e)), "a Dense"),
        (shared, "uses shared several times"),
        (
            lambda d, e: layers.Dense(1, kernel_regularizer="l2", name="out")(flat(d, e)),
            "holds out with a kernel_regularizer",
        ),
        (
            lambda d, e: layers.Dense(1, kernel_constraint="NonNeg", name="out")(flat(d, e)),
            "holds out with a kernel_constraint",
        ),
        (
            lambda d, e: layers.Dense(1, kernel_initializer="orthogonal")(flat(d, e)),
            "with Orthogonal",
        ),
        (
            lambda d, e: layers.Dense(1, dtype="float16", name="half")(flat(d, e)),
            "holds half of another kind of numbers",
        ),
        (
            lambda d, e: layers.Dense(1, trainable=False, name="ice")(flat(d, e)),
            "holds ice of another kind of numbers, or frozen",
        ),
        (lambda d, e: layers.Dense(1, name="a-b")(flat(d, e)), "holds a-b"),
        (
            lambda d, e: layers.Dense(1)(layers.Concatenate()(
                [d, layers.Flatten(data_format="channels_first", name="f")(e)])),
            "holds f with data_format",
        ),
        (lambda d, e: layers.Dense(1)(layers.Softmax(axis=-2)(flat(d, e))), "holds softmax"),
    ],
)  # fmt: skip
def test_what_no_contract_can_hold_is_named(
    body: Callable[[Tensor, Tensor], Tensor], what: str
) -> None:
    with pytest.raises(ModelUnfit, match="the Keras model ") as refusal:
        keras_model.describe_model(model_of(body))
    assert what in refusal.value.what
    assert "docs/contract.md" in refusal.value.remedy


def test_a_probability_where_a_logit_is_wanted_is_refused() -> None:
    def body(d: Tensor, e: Tensor) -> Tensor:
        return layers.Dense(1, activation="sigmoid", name="p")(flat(d, e))

    with pytest.raises(ModelUnfit, match="fits no contract") as refusal:
        keras_model.describe_model(model_of(body))
    assert refusal.value.seen.startswith("layer p ends the model with activation 'sigmoid'")
    assert "Leave the activation out" in refusal.value.seen


def test_a_model_needs_two_inputs_and_one_logit() -> None:
    dense = keras.Input((NUMERIC,), name="a")
    embedded = keras.Input((CATEGORICAL, DIM), name="b")
    joined = flat(dense, embedded)
    for model, what in (
        (keras.Model(dense, layers.Dense(1)(dense)), "two inputs"),
        (keras.Model([embedded, dense], layers.Dense(1)(joined)), "two inputs"),
        (keras.Model([dense, embedded], layers.Dense(2)(joined)), "one logit per example"),
        (keras.Model([dense, embedded], [layers.Dense(1)(joined)] * 2), "several outputs"),
        (keras.Sequential([layers.Dense(1)]), "no functional Keras model"),
        (keras.Model({"a": dense, "b": embedded}, layers.Dense(1)(joined)), "inputs by name"),
        (keras.Model([dense, embedded], layers.Dense(1)(dense)), "fits no contract"),
        ("a model", "no functional Keras model"),
    ):
        with pytest.raises(ModelUnfit) as refusal:
            keras_model.describe_model(model)
        assert what in refusal.value.what


def test_layers_that_do_not_fit_together_are_named() -> None:
    wrong = (
        LayerSection(name="joined", kind="Add", inputs=("numeric", "embedded")),
        LayerSection(name="logit", kind="Dense", inputs=("joined",), options={"units": 1}),
    )
    with pytest.raises(ModelUnfit, match="layer joined of the contract's model") as refusal:
        keras_model.build_model(wrong, NUMERIC, CATEGORICAL, DIM, parameters=100)
    assert "[None, 3] and [None, 5, 4]" in refusal.value.expected
    assert refusal.value.seen
    unsaid = LayerSection(name="logit", kind="Dense", inputs=("numeric",))
    with pytest.raises(ModelUnfit, match="layer logit"):
        keras_model.build_model([unsaid], NUMERIC, CATEGORICAL, DIM, parameters=100)


def test_sizes_are_known_before_a_layer_is_made() -> None:
    for layer in model_of(with_all_layers).layers[2:]:
        called = layer.input if isinstance(layer.input, list) else [layer.input]
        shapes = [tuple(tensor.shape) for tensor in called]
        foretold = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
        assert tuple(foretold) == tuple(layer.output.shape), layer.name


def chain(*steps: tuple[str, dict[str, OptionValue]]) -> list[LayerSection]:
    """Layers one after another on the numeric columns."""
    names = ["numeric", *(f"l{i}" for i in range(len(steps)))]
    return [
        LayerSection(name=name, kind=kind, inputs=(before,), options=options)
        for before, name, (kind, options) in zip(names, names[1:], steps, strict=False)
    ]


WIDE: tuple[str, dict[str, OptionValue]] = ("Dense", {"units": 65_536, "use_bias": False})


@pytest.mark.parametrize(
    ("steps", "parameters", "what", "expected", "seen"),
    [
        (
            [("RepeatVector", {"n": 65_536}), ("Flatten", {}), ("RepeatVector", {"n": 65_536})],
            100,
            "layer l2 of the contract's model gives too much",
            "at most 1,048,576 values for each example",
            "12,884,901,888: [None, 65536, 196608]",
        ),
        (
            [("RepeatVector", {"n": 65_536}), ("DotInteraction", {})],
            100,
            "layer l1 of the contract's model gives too much",
            "at most 1,048,576 values for each example",
            "2,147,450,880: [None, 2147450880]",
        ),
        (
            [WIDE, WIDE],
            NUMERIC * 65_536 + 8,
            "layer l1 of the contract's model needs more parameters than the contract lists",
            "at most 8 scalars from this layer on",
            "more",
        ),
        (
            [("LayerNormalization", {}), ("Dense", {"units": 1})],
            2 * NUMERIC - 1,
            "layer l0 of the contract's model needs more parameters than the contract lists",
            "at most 5 scalars from this layer on",
            "more",
        ),
    ],
    ids=["repeated", "all pairs", "a kernel of 16 GiB", "a few too many"],
)
def test_a_small_contract_does_not_decide_over_much_memory(
    steps: list[tuple[str, dict[str, OptionValue]]],
    parameters: int,
    what: str,
    expected: str,
    seen: str,
) -> None:
    with pytest.raises(ModelUnfit) as refusal:
        keras_model.build_model(chain(*steps), NUMERIC, CATEGORICAL, DIM, parameters=parameters)
    assert refusal.value.what == what
    assert refusal.value.expected == expected
    assert refusal.value.seen == seen


def test_the_example_contract_is_what_its_script_prints() -> None:
    from tests.conftest import REPOSITORY

    script = REPOSITORY / "examples" / "dcn_v2.py"
    printed = subprocess.run(
        [sys.executable, str(script)], check=True, capture_output=True, text=True
    ).stdout
    text = (REPOSITORY / "examples" / "dcn-hfl.toml").read_text()
    assert text.endswith(printed.strip() + "\n")
