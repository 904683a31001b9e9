"""Gives a TensorFlow program its party's examples: verified or unsealed first, then in memory only.

The program reads ``COTERIE_DATA`` as it reads ``TF_CONFIG``: a JSON object with the paths ``train``,
``validation`` and ``test``, and with ``numeric``, ``categorical`` and ``table_rows``. Each path is one
of records as in `coterie.data.examples`, without a header: the label and the numeric columns as
float32, then the categorical columns' global rows as int32, all little-endian.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping

from coterie.contract import DataSection
from coterie.data.dataset import DataSet
from coterie.data.examples import PIECE_ROWS, Examples
from coterie.data.manifest import Split
from coterie.errors import EnvironmentUnfit

VARIABLE = "COTERIE_DATA"
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def describe(files: Mapping[Split, str], data: DataSection) -> str:
    """The value of ``COTERIE_DATA``.

    Args:
        files: Path of each file of records.
        data: The contract's data section.
    """
    return json.dumps(
        {
            **files,
            "numeric": len(data.numeric),
            "categorical": len(data.categorical),
            "table_rows": data.total_rows,
        }
    )


def give_examples(data_set: DataSet) -> None:
    """Copies a data set into this process's memory, and names it in ``COTERIE_DATA``.

    The host can change its files after they were verified, and must not see what was sealed; so the
    program gets files in memory that nobody can write any more.

    Raises:
        EnvironmentUnfit: The system has no files in memory.
        DataSetDamaged: A file has changed since it was verified.
    """
    files: dict[Split, str] = {
        "train": _in_memory(data_set.train),
        "validation": _in_memory(data_set.validation),
        "test": _in_memory(data_set.test),
    }
    os.environ[VARIABLE] = describe(files, data_set.train.data)


def _in_memory(examples: Examples) -> str:
    try:
        number = os.memfd_create("examples", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(number, "wb", closefd=False) as file:
            file.writelines(
                examples.records(start, min(start + PIECE_ROWS, examples.rows))
                for start in range(0, examples.rows, PIECE_ROWS)
            )
        fcntl.fcntl(number, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        raise EnvironmentUnfit(
            "the examples cannot be given to the program in memory",
            expected="files in memory (memfd_create(2)), and room for all examples",
            seen=error.strerror or str(error),
            remedy="run the node on Linux, with memory for its whole data set",
        ) from error
    return f"/proc/self/fd/{number}"
