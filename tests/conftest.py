"""Shared fixtures: where the shared material lies, and small data sets made once per session."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent

# How long an example takes says nothing on a machine that does other things too.
settings.register_profile("coterie", deadline=None)
settings.load_profile("coterie")
