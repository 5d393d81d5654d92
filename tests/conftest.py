"""Fixtures for tests of every kind. The slow, shared ones (built base images) are made once per session."""

from __future__ import annotations
