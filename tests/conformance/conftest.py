"""Fixtures of the conformance tests: one suite over every file system and personality."""

from __future__ import annotations

import sys
from pathlib import Path

# The guest without code is the personalities' unit tests' own; see there.
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "personality"))
