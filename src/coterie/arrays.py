"""Coterie's array types, by the type of their items.

Docstrings state shapes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""Values of models, gradients, features and scores."""
Float64Array = npt.NDArray[np.float64]
"""Sums and statistics."""
IdArray = npt.NDArray[np.int32]
"""Rows of embedding tables, and records of example files, which hold them."""
Int64Array = npt.NDArray[np.int64]
"""Counts, offsets and line numbers."""
IntpArray = npt.NDArray[np.intp]
"""Places in another array, as NumPy's own indexing gives them."""
Int16Array = npt.NDArray[np.int16]
"""Differences of numbers' bits."""
Int8Array = npt.NDArray[np.int8]
"""Values of a block, divided by its scale."""
UInt16Array = npt.NDArray[np.uint16]
UInt32Array = npt.NDArray[np.uint32]
UInt64Array = npt.NDArray[np.uint64]
"""Hashes and random numbers."""
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
RecordArray = npt.NDArray[np.void]
"""Rows of structured records."""
