"""`cbvc models`: the family, and which of it is trained and installed."""

from __future__ import annotations

import json

import pytest

from cbvc_jax.cli import models
from cbvc_jax.weights import WEIGHTS_FILE, load_model
from tests.mini_preset import MINI


@pytest.fixture(autouse=True)
def family(monkeypatch, tmp_path):
    """A family of one, quickly counted, and a damaged model beside the installed ones."""
    monkeypatch.setattr(models, "PRESETS", {"mini": MINI})
    monkeypatch.setattr(models, "get_preset", lambda name: {"mini": MINI}[name])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / WEIGHTS_FILE).write_bytes(b"broken")
    monkeypatch.setenv("CBVC_MODELS", str(tmp_path))


def test_the_table_says_which_models_are_installed_and_which_is_used(cbvc):
    lines = cbvc("models").out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["name", "mini"]
    assert f"small {load_model().sha256.hex()[:12]} (used where --model names none)" in lines[-1]
    assert lines[-1].endswith("broken damaged.")


def test_one_model_as_text_and_as_json(cbvc):
    text = cbvc("models", "mini").out
    facts = json.loads(cbvc("models", "mini", "--json").out)
    assert facts["name"] == "mini"
    assert f"{facts['parameters']['networks']:,} in all networks" in text
    assert set(facts["rates"]) == {"key", "high", "medium", "low"}
