"""``coterie`` whose nodes let every call of an attested peer through: what inspected ones are compared with.

python -m benchmarks.uninspected tensorflow node ...
"""

from __future__ import annotations

from coterie.cli.main import main
from coterie.tensorflow import node

node.Inspection = lambda *_: None  # type: ignore[attr-defined,assignment]
main()
