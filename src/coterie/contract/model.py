"""The contract's ``[model]`` section and the dense parameters that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from coterie.contract.data import DataSection
from coterie.contract.section import Section

Width = Annotated[int, Field(ge=1, le=65_536)]
Widths = Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=32)]


@dataclass(frozen=True)
class DenseParameter:
    """One dense parameter of the model.

    Attributes:
        name: Path of the variable, for example ``bottom_0/kernel``.
        shape: Its shape; kernels are (inputs, outputs).
        standard_deviation: Of the normal distribution that it starts from.
        mean: Of that distribution.
    """

    name: str
    shape: tuple[int, ...]
    standard_deviation: float
    mean: float = 0.0

    @property
    def size(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)


class ModelSection(Section):
    """The sizes of the DLRM (Naumov et al., 2019).

    Attributes:
        kind: The architecture.
        embedding_dim: Width of an embedding row; the bottom MLP ends with it.
        bottom: Widths of the bottom MLP's layers, ReLU after each.
        top: Widths of the top MLP's layers, ReLU after each but the last, which gives the logit.
    """

    kind: Literal["dlrm"] = "dlrm"
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    bottom: Widths = (512, 256, 64, 16)
    top: Widths = (512, 256, 1)

    @model_validator(mode="after")
    def _widths_fit_together(self) -> Self:
        if self.bottom[-1] != self.embedding_dim:
            raise ValueError(
                f"bottom must end with embedding_dim ({self.embedding_dim}), not {self.bottom[-1]}"
            )
        if self.top[-1] != 1:
            raise ValueError(f"top must end with 1 (the logit), not {self.top[-1]}")
        return self

    def dense_parameters(self, data: DataSection) -> tuple[DenseParameter, ...]:
        """The dense parameters in their canonical order: bottom, then top; kernel, then bias.

        Initial values as in the reference DLRM: W ~ N(0, sqrt(2/(in+out))), b ~ N(0, sqrt(1/out)).
        """
        vectors = len(data.categorical) + 1
        pairs = vectors * (vectors - 1) // 2
        parameters: list[DenseParameter] = []
        for tower, width, widths in (
            ("bottom", len(data.numeric), self.bottom),
            ("top", self.embedding_dim + pairs, self.top),
        ):
            inputs = width
            for i, outputs in enumerate(widths):
                parameters += [
                    DenseParameter(
                        f"{tower}_{i}/kernel", (inputs, outputs), math.sqrt(2 / (inputs + outputs))
                    ),
                    DenseParameter(f"{tower}_{i}/bias", (outputs,), math.sqrt(1 / outputs)),
                ]
                inputs = outputs
        return tuple(parameters)
