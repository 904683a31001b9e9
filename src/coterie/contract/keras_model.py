"""The contract's ``[model]`` section of kind ``keras``: a party's own architecture, as data.

Every node reads it. The parameter server has no Keras and needs only the parameters. The worker
builds the layers (``models/keras_model.py``) and refuses a model whose variables are not exactly the
parameters. ``coterie model describe`` writes the section from a Keras model.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from coterie.contract.data import DataSection
from coterie.contract.layers import (
    EMBEDDED_INPUT,
    LAYERS,
    NUMERIC_INPUT,
    REFUSED,
    OptionValue,
    bounded_output,
    keeps_values,
)
from coterie.contract.model import DenseParameter
from coterie.contract.section import Section

LayerName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Dimension = Annotated[int, Field(ge=1, le=2**24)]


class LayerSection(Section):
    """One layer, called once.

    Attributes:
        name: Unique in the model.
        kind: Name of the Keras layer; ``contract/layers.py`` lists them.
        inputs: What it is called on: ``numeric`` ([batch, numeric columns], log features),
            ``embedded`` ([batch, categorical columns, ``embedding_dim``]), or layers above it.
        options: Arguments of the layer, as in Keras.
    """

    name: LayerName
    kind: Annotated[str, Field(max_length=64)]
    inputs: Annotated[tuple[LayerName, ...], Field(strict=False, min_length=1, max_length=64)]
    options: Annotated[dict[str, OptionValue], Field(max_length=16)] = {}

    @model_validator(mode="after")
    def _layer_is_listed(self) -> Self:
        rule = LAYERS.get(self.kind)
        if rule is None:
            why = f", because {REFUSED[self.kind]}" if self.kind in REFUSED else ""
            raise ValueError(
                f"layer {self.name} is a {self.kind!r}, which a contract cannot hold{why}; "
                f"these it can: {', '.join(LAYERS)}"
            )
        if problem := rule.problem(self.options, len(self.inputs)):
            raise ValueError(f"layer {self.name}: {self.kind} {problem}")
        return self


class ParameterSection(Section):
    """One trained variable of the model.

    Attributes:
        name: ``LAYER/VARIABLE``, for example ``cross_0/kernel``.
        shape: Its shape.
        standard_deviation: Of the normal distribution of its initial values; 0 for a constant.
        mean: Of that distribution.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}/[a-z_]{1,32}$")]
    shape: Annotated[tuple[Dimension, ...], Field(strict=False, max_length=8)]
    standard_deviation: Annotated[float, Field(ge=0, le=1e6)]
    mean: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0


class KerasModelSection(Section):
    """A model of one's own: Keras layers from dense features and embedded ids to one logit.

    Attributes:
        kind: ``keras``.
        embedding_dim: Width of an embedding row.
        layers: The layers, each below the ones that it uses; the last one's output is the logit.
        parameters: Its trained variables, in the order of the Keras model's.
    """

    kind: Literal["keras"]
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    layers: Annotated[tuple[LayerSection, ...], Field(strict=False, min_length=1, max_length=256)]
    parameters: Annotated[
        tuple[ParameterSection, ...], Field(strict=False, min_length=1, max_length=1024)
    ]

    @model_validator(mode="after")
    def _layers_form_one_model(self) -> Self:
        known = {NUMERIC_INPUT, EMBEDDED_INPUT}
        used: set[str] = set()
        for layer in self.layers:
            if layer.name in known:
                raise ValueError(f"layer name {layer.name} is used twice, or is that of an input")
            if unknown := sorted(set(layer.inputs) - known):
                raise ValueError(
                    f"layer {layer.name} uses {', '.join(unknown)}, which is no layer above it"
                )
            known.add(layer.name)
            used.update(layer.inputs)
        if unused := sorted(known - used - {self.layers[-1].name}):
            raise ValueError(f"nothing uses {', '.join(unused)}")
        self._check_output()
        self._check_parameters()
        return self

    def _check_output(self) -> None:
        """Refuses a last layer whose output is bounded, such as a probability."""
        layers = {layer.name: layer for layer in self.layers}
        last = self.layers[-1]
        while keeps_values(last.kind) and last.inputs[0] in layers:
            last = layers[last.inputs[0]]
        if bound := bounded_output(last.kind, last.options):
            raise ValueError(
                f"layer {last.name} ends the model with {bound}, but its output is taken for a logit, which may be any "
                "number: training, evaluation and export make probabilities of logits themselves. Leave the activation out"
            )

    def _check_parameters(self) -> None:
        kinds = {layer.name: layer.kind for layer in self.layers}
        seen: set[str] = set()
        for parameter in self.parameters:
            layer, _, variable = parameter.name.partition("/")
            if layer not in kinds or variable not in LAYERS[kinds[layer]].parameters:
                raise ValueError(f"parameter {parameter.name} belongs to no layer of the model")
            if parameter.name in seen:
                raise ValueError(f"parameter {parameter.name} is listed twice")
            seen.add(parameter.name)

    def dense_parameters(self, data: DataSection) -> tuple[DenseParameter, ...]:
        """The dense parameters in their canonical order, which is that of the section."""
        del data  # the parameters' shapes already include it
        return tuple(
            DenseParameter(p.name, p.shape, p.standard_deviation, p.mean) for p in self.parameters
        )

    def to_toml(self) -> str:
        """The section in TOML."""
        lines = ["[model]", f"kind = {_toml(self.kind)}", f"embedding_dim = {self.embedding_dim}"]
        for layer in self.layers:
            lines += ["", "[[model.layers]]"]
            lines += [f"{key} = {_toml(value)}" for key, value in layer.model_dump().items()]
        for parameter in self.parameters:
            lines += ["", "[[model.parameters]]"]
            lines += [f"{key} = {_toml(value)}" for key, value in parameter.model_dump().items()]
        return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A value in TOML, which writes texts, numbers and lists as JSON does."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, allow_nan=False)
