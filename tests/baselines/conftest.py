"""A trunk that compiles in a moment, of 12 channels."""

import pytest


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    # not at the top: what is imported before pytest is configured has its annotated shapes unchecked
    from mtp.models.backbones import BACKBONES
    from tests.runs import SMALL

    monkeypatch.setitem(BACKBONES, "small", SMALL)
