"""The contract's ``[data]`` section: columns, table sizes, hashing. Prepared data binds to it alone."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from coterie.contract.section import Section

CRITEO_NUMERIC = tuple(f"I{i}" for i in range(1, 14))
CRITEO_CATEGORICAL = tuple(f"C{i}" for i in range(1, 27))

ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Places = Annotated[int, Field(ge=1, le=9)]
TableRows = Annotated[int, Field(ge=2, le=1_000_000_000)]


class DataSection(Section):
    """The columns, and how their cells become numbers.

    Attributes:
        numeric: Names of the numeric columns, in file order.
        categorical: Names of the categorical columns, in file order.
        decimals: Numeric columns that hold decimal numbers, with the places that are kept; the
            others hold integers. Left out of the canonical form if it is empty.
        rows: Rows of each column's embedding table unless ``column_rows`` says otherwise. Row 0
            of a table is the out-of-vocabulary row; ids hash to the rows 1 .. rows - 1.
        column_rows: Table sizes of single columns.
        hash_seed: Seed of the id hash; the same for all parties, so that an id means one embedding
            row.
        min_count: Ids that a party sees less often than this in its own training data train the
            out-of-vocabulary row instead.
        row_limit: Use only this many rows from the start of the raw file (all if absent).
    """

    numeric: Annotated[
        tuple[ColumnName, ...], Field(strict=False, min_length=1, max_length=4096)
    ] = CRITEO_NUMERIC
    categorical: Annotated[
        tuple[ColumnName, ...], Field(strict=False, min_length=1, max_length=4096)
    ] = CRITEO_CATEGORICAL
    decimals: dict[ColumnName, Places] = {}
    rows: TableRows = 10_000
    column_rows: dict[ColumnName, TableRows] = {}
    hash_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    min_count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    row_limit: Annotated[int, Field(ge=14)] | None = None

    @model_validator(mode="after")
    def _columns_are_consistent(self) -> Self:
        names = self.numeric + self.categorical
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"column names must be unique; twice: {', '.join(twice)}")
        if unknown := sorted(set(self.decimals) - set(self.numeric)):
            raise ValueError(f"decimals names {', '.join(unknown)}, which is not in data.numeric")
        if unknown := sorted(set(self.column_rows) - set(self.categorical)):
            raise ValueError(
                f"column_rows names {', '.join(unknown)}, which is not in data.categorical"
            )
        if self.total_rows > 2**31 - 1:
            raise ValueError(f"tables have {self.total_rows} rows in all; at most 2147483647 fit")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_empty_decimals(
        self, default: SerializerFunctionWrapHandler
    ) -> dict[str, object]:
        """Leaves the key out if empty: data prepared before it existed must keep their digest."""
        value: dict[str, object] = default(self)
        if not self.decimals:
            value.pop("decimals", None)
        return value

    @property
    def units(self) -> tuple[int, ...]:
        """Units in 1 of each numeric column, in column order: 1, or a power of ten for decimals."""
        return tuple(10 ** self.decimals.get(name, 0) for name in self.numeric)

    @property
    def table_rows(self) -> tuple[int, ...]:
        """Rows of each categorical column's table, in column order."""
        return tuple(self.column_rows.get(name, self.rows) for name in self.categorical)

    @property
    def column_offsets(self) -> tuple[int, ...]:
        """First global row of each categorical column: global row = offset + row."""
        offsets, total = [], 0
        for rows in self.table_rows:
            offsets.append(total)
            total += rows
        return tuple(offsets)

    @property
    def total_rows(self) -> int:
        """Rows of the fused table."""
        return sum(self.table_rows)
