"""``python -m handbook``: brings the documentation's generated and recorded parts up to date."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from handbook import consoles, generated


def main() -> int:
    """Runs one of the commands; returns 1 if ``check`` finds something out of date."""
    parser = argparse.ArgumentParser(prog="python -m handbook", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("write", help="write the generated parts of pages anew")
    verbs.add_parser("check", help="tell which generated parts are out of date")
    record = verbs.add_parser("record", help="run pages' commands and put in what they print")
    record.add_argument("pages", nargs="*", type=Path, help="all that show commands if absent")
    options = parser.parse_args()
    if options.verb == "record":
        for page in options.pages or consoles.pages():
            with tempfile.TemporaryDirectory(prefix="coterie-page-") as folder:
                consoles.furnish(Path(folder))
                changed = consoles.record(page, Path(folder))
            sys.stdout.write(f"{page}: {'changed' if changed else 'as it was'}\n")
        return 0
    stale = generated.stale()
    for page, text in stale.items():
        sys.stdout.write(f"{page}: out of date\n")
        if options.verb == "write":
            page.write_text(text, encoding="utf-8")
    return int(bool(stale)) if options.verb == "check" else 0


if __name__ == "__main__":
    sys.exit(main())
