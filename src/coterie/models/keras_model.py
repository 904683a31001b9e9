"""A contract's own Keras model: builds it from the section, and writes the section from a model.

Importing this module loads Keras and its backend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import keras
from pydantic import ValidationError

from coterie.contract import KerasModelSection, LayerSection, ParameterSection
from coterie.contract.layers import (
    EMBEDDED_INPUT,
    LAYERS,
    MAX_OUTPUT,
    NUMERIC_INPUT,
    REFUSED,
    OptionValue,
)
from coterie.errors import ModelUnfit
from coterie.models.dlrm import DotInteraction

_BOILERPLATE = {"name", "trainable", "dtype", "autocast"}


def build_model(
    layers: Sequence[LayerSection],
    numeric: int,
    categorical: int,
    embedding_dim: int,
    *,
    parameters: int,
) -> keras.Model:
    """Builds the Keras model of a contract.

    Args:
        layers: The section's layers.
        numeric: Number of numeric columns, n.
        categorical: Number of categorical columns, m.
        embedding_dim: Width of an embedding row.
        parameters: Scalars that the trained variables may have in all.

    Returns:
        A model (dense [B, n], embedded [B, m, dim]) -> logits [B].

    Raises:
        ModelUnfit: The layers do not fit together, give more than one logit per example, or need
            more memory than is allowed. The last is found before the memory is allocated.
    """
    inputs = (
        keras.Input((numeric,), name=NUMERIC_INPUT),
        keras.Input((categorical, embedding_dim), name=EMBEDDED_INPUT),
    )
    known = dict(zip((NUMERIC_INPUT, EMBEDDED_INPUT), inputs, strict=True))
    output = inputs[0]
    left = parameters
    for section in layers:
        called = [known[name] for name in section.inputs]
        try:
            layer = _layer_class(section.kind)(name=section.name, **_arguments(section))
            _require_small(section, layer, called, left)
            output = layer(called[0] if len(called) == 1 else called)
        except (ValueError, TypeError, IndexError) as error:
            raise ModelUnfit(
                f"layer {section.name} of the contract's model does not fit its inputs",
                expected=f"a {section.kind} that takes {_shapes(called)}",
                seen=str(error).split("\n", 1)[0][:200],
                remedy="correct the layer's options or inputs in [[model.layers]]",
            ) from error
        if layer.count_params() > left:
            raise _too_many_parameters(section, left)
        left -= layer.count_params()
        known[section.name] = output
    if tuple(output.shape) != (None, 1):
        raise ModelUnfit(
            "the contract's model does not give one logit per example",
            expected="a last layer of shape [batch, 1]",
            seen=f"{layers[-1].name} gives {list(output.shape)}",
            remedy="end the model with a Dense layer of 1 unit and no activation",
        )
    return keras.Model(inputs, keras.layers.Reshape((), name="coterie-logit")(output))


def _require_small(
    section: LayerSection, layer: keras.Layer, called: Sequence[keras.KerasTensor], left: int
) -> None:
    """Refuses a layer whose output or kernel is too large, before a call allocates it.

    Of the allowed kinds, only Dense can have far more parameters than its inputs have values.
    """
    shapes = [tuple(tensor.shape) for tensor in called]
    shape = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
    values = math.prod(shape[1:])
    if values > MAX_OUTPUT:
        raise ModelUnfit(
            f"layer {section.name} of the contract's model gives too much",
            expected=f"at most {MAX_OUTPUT:,} values for each example",
            seen=f"{values:,}: {list(shape)}",
            remedy="make the layer, or what it repeats or combines, smaller",
        )
    if isinstance(layer, keras.layers.Dense) and shapes[0][-1] * layer.units > left:
        raise _too_many_parameters(section, left)


def _too_many_parameters(section: LayerSection, left: int) -> ModelUnfit:
    return ModelUnfit(
        f"layer {section.name} of the contract's model needs more parameters than the contract lists",
        expected=f"at most {left:,} scalars from this layer on",
        seen="more",
        remedy="let coterie model describe write the section",
    )


def describe_model(model: keras.Model) -> KerasModelSection:
    """Writes the contract's ``[model]`` section of a Keras model.

    Initial values are not copied: every parameter starts from a normal distribution with the mean
    and the variance of the layer's own initializer, drawn from the contract's seed.

    Args:
        model: A functional model of two inputs, dense features [batch, numeric] and embedded ids
            [batch, columns, dim], and one output, the logit [batch, 1].

    Returns:
        The section, for ``Contract`` or, by ``coterie model describe``, for a TOML file.

    Raises:
        ModelUnfit: A contract cannot hold the model; the error names the first unsuitable layer.
    """
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise _unfit("is no functional Keras model", "keras.Model(inputs, output)", repr(model))
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if [len(shape) for shape in shapes] != [2, 3] or None in shapes[0][1:] + shapes[1][1:]:
        expected = "[batch, numeric] and [batch, columns, dim], in this order"
        raise _unfit("does not have the two inputs", expected, _shapes(model.inputs))
    if not isinstance(model.get_config()["input_layers"], list):
        raise _unfit("has its inputs by name", "a list of the two inputs", "a dictionary")
    if len(model.outputs) != 1:
        raise _unfit("has several outputs", "one, the logit", str(len(model.outputs)))
    sections, layers = _sections(model)
    (_, numeric), (_, categorical, dim) = shapes
    rebuilt = build_model(sections, numeric, categorical, dim, parameters=model.count_params())
    parameters = tuple(
        _parameter(layers, variable.path, tuple(variable.shape))
        for variable in rebuilt.trainable_variables
    )
    if not parameters:
        raise _unfit("has nothing to train", "at least one trained variable", "none")
    _require_the_same(model, parameters)
    try:
        return KerasModelSection(
            kind="keras", embedding_dim=dim, layers=tuple(sections), parameters=parameters
        )
    except ValidationError as error:
        raise _unfit("fits no contract", "a model as in docs/contract.md", _first(error)) from error


def _layer_class(kind: str) -> type[keras.Layer]:
    """The class of an allowed kind; the section was checked against the same list."""
    if kind == "DotInteraction":
        return DotInteraction
    assert kind in LAYERS
    return cast("type[keras.Layer]", getattr(keras.layers, kind))


def _arguments(section: LayerSection) -> dict[str, OptionValue | tuple[int, ...]]:
    return {
        name: tuple(value) if isinstance(value, list) and name != "axis" else value
        for name, value in section.options.items()
    }


def _sections(model: keras.Model) -> tuple[list[LayerSection], dict[str, keras.Layer]]:
    """The model's layers as sections, each after its inputs, the logit's last; and the layers."""
    config = model.get_config()
    names = {
        name: ours
        for (name, _, _), ours in zip(
            config["input_layers"], (NUMERIC_INPUT, EMBEDDED_INPUT), strict=True
        )
    }
    last = _first_text(config["output_layers"])
    sections: list[LayerSection] = []
    layers: dict[str, keras.Layer] = {}
    waiting = [entry for entry in config["layers"] if entry["name"] not in names]
    waiting.sort(key=lambda entry: entry["name"] == last)
    for entry in waiting:
        name, kind = entry["name"], entry["class_name"]
        layer = next((found for found in model.layers if found.name == name), None)
        if kind not in LAYERS or type(layer) is not _layer_class(kind):
            why = f": {REFUSED[kind]}" if kind in REFUSED else ""
            raise _unfit(
                f"holds {name}, a {kind}{why}",
                f"layers among {', '.join(LAYERS)}",
                f"{entry['module']}.{kind}",
            )
        if len(entry["inbound_nodes"]) != 1:
            raise _unfit(f"uses {name} several times", "each layer once", "a shared layer")
        parents = [str(tensor["keras_history"][0]) for tensor in _tensors(entry["inbound_nodes"])]
        names[name], layers[name] = name, layer
        sections.append(
            _checked_section(
                name, kind, tuple(names[parent] for parent in parents), _options(layer, kind)
            )
        )
    return sections, layers


def _first_text(value: object) -> object:
    """The name in ``["dense", 0, 0]`` or ``[["dense", 0, 0]]``: Keras writes both."""
    while isinstance(value, list):
        value = value[0]
    return value


def _tensors(value: object) -> list[dict[str, list[object]]]:
    """The tensors that a part of a Keras configuration refers to, in order."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return [value["config"]]
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [found for item in value for found in _tensors(item)]
    return []


def _checked_section(
    name: str, kind: str, inputs: tuple[str, ...], options: dict[str, OptionValue]
) -> LayerSection:
    try:
        return LayerSection(name=name, kind=kind, inputs=inputs, options=options)
    except ValidationError as error:
        expected = "names and options as in docs/contract.md"
        raise _unfit(f"holds {name}", expected, _first(error)) from error


def _options(layer: keras.Layer, kind: str) -> dict[str, OptionValue]:
    """All of a layer's options, so that the contract does not depend on Keras's defaults."""
    options: dict[str, OptionValue] = {}
    for name, value in layer.get_config().items():
        if name in LAYERS[kind].options:
            if value is not None:
                options[name] = list(value) if isinstance(value, tuple) else value
        elif name.endswith(("_regularizer", "_constraint")) and value is not None:
            raise _unfit(
                f"holds {layer.name} with a {name}",
                "none: the server updates parameters, and knows no losses of layers",
                "one",
            )
        elif name == "data_format" and value in {None, "channels_last"}:
            continue
        elif not name.endswith("_initializer") and name not in _BOILERPLATE and value:
            raise _unfit(f"holds {layer.name} with {name}", f"no {name}", f"{value!r:.80}")
    if layer.compute_dtype != "float32" or not layer.trainable:
        raise _unfit(
            f"holds {layer.name} of another kind of numbers, or frozen",
            "float32, trainable",
            f"{layer.compute_dtype}, trainable {layer.trainable}",
        )
    return options


def _parameter(
    layers: dict[str, keras.Layer], path: str, shape: tuple[int, ...]
) -> ParameterSection:
    layer_name, _, variable = path.partition("/")
    initializer = getattr(layers[layer_name], f"{variable}_initializer", None)
    if initializer is None:  # RMSNormalization's is fixed
        initializer = keras.initializers.Ones()
    mean, deviation = _moments(initializer, shape, path)
    return ParameterSection(name=path, shape=shape, mean=mean, standard_deviation=deviation)


def _moments(
    initializer: keras.initializers.Initializer, shape: tuple[int, ...], path: str
) -> tuple[float, float]:
    """Mean and standard deviation of an initializer's values."""
    found = keras.initializers
    mean = deviation = 0.0
    match initializer:
        case found.Zeros():
            pass
        case found.Ones():
            mean = 1.0
        case found.Constant(value=value):
            mean = float(value)
        case found.VarianceScaling(scale=scale, mode=mode):
            fan_in, fan_out = shape[0], shape[-1]  # variables are vectors or matrices only
            fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
            deviation = math.sqrt(scale / max(1.0, fans[mode]))
        case found.RandomNormal(mean=centre, stddev=spread):
            mean, deviation = float(centre), float(spread)
        case found.TruncatedNormal(mean=centre, stddev=spread):
            # A normal variable truncated at two standard deviations keeps this share of its
            # standard deviation.
            mean, deviation = float(centre), float(spread) * 0.8796256610342398
        case found.RandomUniform(minval=low, maxval=high):
            mean, deviation = (low + high) / 2, (high - low) / math.sqrt(12)
        case _:
            raise _unfit(
                f"starts {path} with {type(initializer).__name__}",
                "an initializer with a mean and a variance, such as GlorotUniform or RandomNormal",
                type(initializer).__name__,
            )
    return mean, deviation


def _require_the_same(model: keras.Model, parameters: tuple[ParameterSection, ...]) -> None:
    own = {(variable.path, tuple(variable.shape)) for variable in model.variables}
    described = {(parameter.name, parameter.shape) for parameter in parameters}
    if own != described:
        different = sorted(f"{path} {shape}" for path, shape in own ^ described)
        raise _unfit(
            "has variables that its layers do not give when they are built anew",
            "variables of the listed layers alone, all trained",
            ", ".join(different)[:200],
        )


def _first(error: ValidationError) -> str:
    return error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")


def _shapes(tensors: Sequence[keras.KerasTensor]) -> str:
    return " and ".join(str(list(tensor.shape)) for tensor in tensors)


def _unfit(what: str, expected: str, seen: str) -> ModelUnfit:
    return ModelUnfit(
        f"the Keras model {what}",
        expected,
        seen,
        remedy="build it from the layers that docs/contract.md lists, each used once",
    )
