"""The program of a guest's verified root."""

from __future__ import annotations

from coterie.guest.starting import main

if __name__ == "__main__":
    main()
