"""Each promise of docs/promises.md names what holds it, and that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:registry|web|faults|align|cli)/test_\w+\.py|bench/\w+\.py)`", PAGE)))


def test_the_page_names_tests():
    assert len(NAMED) > 12


@pytest.mark.parametrize("name", NAMED)
def test_what_holds_a_promise_is_there(name):
    assert (ROOT / name if name.startswith("bench/") else ROOT / "tests" / name).is_file()
