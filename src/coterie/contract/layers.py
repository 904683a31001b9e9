"""The Keras layers that a contract's own model may contain, and the allowed options of each.

A contract describes a model as data: a list of named layers, each with its kind, inputs and plain
options. It contains no code, and Keras's serialized form is never read. Every allowed kind and
option is listed here; all others are refused. Layers with untrained state (BatchNormalization),
with randomness (Dropout) or with code (Lambda) are left out on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

OptionValue = bool | int | float | str | list[int]

NUMERIC_INPUT = "numeric"
"""The dense features, [batch, numeric columns]."""

EMBEDDED_INPUT = "embedded"
"""The looked-up embedding rows, [batch, categorical columns, embedding_dim]."""

ACTIVATIONS = frozenset(
    {
        *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish"),
        *("sigmoid", "hard_sigmoid", "tanh", "softplus", "softsign", "softmax", "exponential"),
    }
)

_ANY_NUMBER = frozenset({"linear", "leaky_relu"})
_KEEPS_VALUES = frozenset({"Reshape", "Flatten", "Permute"})
_ENDS_OF_A_RANGE = frozenset({"Softmax", "ReLU", "ELU", "UnitNormalization"})

MAX_WIDTH = 65_536

MAX_OUTPUT = 1 << 20
"""Largest number of values that a layer may give for one example, which bounds memory."""


@dataclass(frozen=True)
class LayerRule:
    """The rule for one kind of layer.

    Attributes:
        options: Its options, each with a test of acceptable values.
        fewest: Smallest number of inputs.
        most: Largest number of inputs.
        parameters: Names of the variables that it may have.
    """

    options: Mapping[str, Callable[[OptionValue], bool]] = field(default_factory=dict)
    fewest: int = 1
    most: int = 1
    parameters: tuple[str, ...] = ()

    def problem(self, options: Mapping[str, OptionValue], inputs: int) -> str | None:
        """The first problem of a layer's inputs or options, or None."""
        if not self.fewest <= inputs <= self.most:
            return f"takes {self.fewest} to {self.most} inputs, not {inputs}"
        for name, value in options.items():
            check = self.options.get(name)
            if check is None:
                known = ", ".join(sorted(self.options)) or "none"
                return f"has no option {name!r}; it takes: {known}"
            if not check(value):
                return f"does not take {name} = {value!r:.60}"
        return None


def _whole(value: OptionValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flag(value: OptionValue) -> bool:
    return isinstance(value, bool)


def _number(value: OptionValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e6


def _width(value: OptionValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WIDTH


def _axis(value: OptionValue) -> bool:
    # The last axis, or one counted from 1. Axis 0 would mix the examples of a batch.
    return (
        isinstance(value, int) and not isinstance(value, bool) and (value == -1 or 1 <= value < 8)
    )


def _axes(value: OptionValue) -> bool:
    return _axis(value) or (
        isinstance(value, list) and 1 <= len(value) <= 8 and all(_axis(axis) for axis in value)
    )


def _shape(value: OptionValue) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 8
        and all(_whole(size) and (size == -1 or size >= 1) for size in value)
        and math.prod(map(abs, value)) <= MAX_OUTPUT
    )


def _activation(value: OptionValue) -> bool:
    return isinstance(value, str) and value in ACTIVATIONS


_MANY = 64
_MERGE = LayerRule(fewest=2, most=_MANY)

LAYERS: Mapping[str, LayerRule] = {
    "Activation": LayerRule({"activation": _activation}),
    "Add": _MERGE,
    "Average": _MERGE,
    "Concatenate": LayerRule({"axis": _axis}, fewest=2, most=_MANY),
    "Dense": LayerRule(
        {"units": _width, "activation": _activation, "use_bias": _flag},
        parameters=("kernel", "bias"),
    ),
    "Dot": LayerRule({"axes": _axes, "normalize": _flag}, fewest=2, most=2),
    "DotInteraction": LayerRule(),  # Coterie's own layer: the DLRM's pairwise products
    "ELU": LayerRule({"alpha": _number}),
    "Flatten": LayerRule(),
    "GlobalAveragePooling1D": LayerRule({"keepdims": _flag}),
    "GlobalMaxPooling1D": LayerRule({"keepdims": _flag}),
    "LayerNormalization": LayerRule(
        {"axis": _axes, "epsilon": _number, "center": _flag, "scale": _flag},
        parameters=("gamma", "beta"),
    ),
    "LeakyReLU": LayerRule({"negative_slope": _number}),
    "Maximum": _MERGE,
    "Minimum": _MERGE,
    "Multiply": _MERGE,
    "PReLU": LayerRule({"shared_axes": _axes}, parameters=("alpha",)),
    "Permute": LayerRule({"dims": _axes}),
    "RMSNormalization": LayerRule({"axis": _axes, "epsilon": _number}, parameters=("scale",)),
    "ReLU": LayerRule({"max_value": _number, "negative_slope": _number, "threshold": _number}),
    "RepeatVector": LayerRule({"n": _width}),
    "Rescaling": LayerRule({"scale": _number, "offset": _number}),
    "Reshape": LayerRule({"target_shape": _shape}),
    "Softmax": LayerRule({"axis": _axes}),
    "Subtract": LayerRule(fewest=2, most=2),
    "UnitNormalization": LayerRule({"axis": _axes}),
}


REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("Dropout", "SpatialDropout1D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
            "ActivityRegularization",
        ),
        "runs have to give the same bits wherever they are trained, and the server has no part of it: leave it out; "
        "[training.validation] ends training before a model learns its rows by heart",
    ),
    "BatchNormalization": "its running means are state that is not trained: take LayerNormalization",
    "Lambda": "it holds code, and a contract is data",
    "Embedding": "the embedded ids are an input of the model: the server has their tables",
}
"""Why some well-known kinds are not listed, and what to use instead."""


def bounded_output(kind: str, options: Mapping[str, OptionValue]) -> str | None:
    """Why a last layer cannot give a logit, which may be any number; None if it can.

    Args:
        kind: Kind of the layer.
        options: Its options.
    """
    activation = options.get("activation", "linear")
    if kind in {"Dense", "Activation"} and activation not in _ANY_NUMBER:
        return f"activation {activation!r}"
    return f"{kind}" if kind in _ENDS_OF_A_RANGE else None


def keeps_values(kind: str) -> bool:
    """Whether a layer passes its input values on unchanged."""
    return kind in _KEEPS_VALUES
