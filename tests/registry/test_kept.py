"""Answers that are kept: the same while nothing changes, new after any change, and never for longer than a moment."""

from __future__ import annotations

import numpy as np
import pytest

from registry.services import kept
from registry.services.kept import Kept

pytestmark = pytest.mark.embedded


def asked(reg, answers, question="q"):
    with reg.reading() as session:
        return answers.get(session, question, lambda: object())


def test_an_answer_holds_until_the_facts_change(reg, rows):
    answers = Kept()
    reg.register_version("m", dim=4)
    reg.create_gallery("g", id_type="int", labels=["class"])
    reg.append("g", version="m/1", ids=np.arange(8), vectors=rows(8, 4), labels={"class": np.arange(8) % 2})
    reg.add_canaries("m/1", ["a"], rows(1, 4))
    first = asked(reg, answers)
    assert asked(reg, answers) is first
    assert asked(reg, answers, "another") is not first
    changes = [
        lambda: reg.set_alias("m", "champion", 1),
        lambda: reg.set_tag("m/1", "team", "search"),
        lambda: reg.register_version("m", dim=4, fingerprint={"weights": "b"}),
        lambda: reg.append("g", version="m/2", ids=np.arange(8), vectors=rows(8, 4)),
        lambda: reg.evaluate("g"),
        lambda: reg.delete("g", [0]),
        lambda: reg.verify_encoder("m/1", lambda inputs: rows(1, 4), record=True),
        lambda: reg.verify_encoder("m/1", lambda inputs: rows(1, 4), record=True),  # which leaves no line in the log
        lambda: reg.create_token("ci"),
    ]
    for change in changes:
        before = asked(reg, answers)
        change()
        assert asked(reg, answers) is not before


def test_an_answer_is_not_kept_for_long(reg, monkeypatch):
    answers = Kept()
    first = asked(reg, answers)
    monkeypatch.setattr(kept, "KEPT_S", 0.0)
    assert asked(reg, answers) is not first


def test_the_oldest_answers_go(reg):
    answers = Kept()
    first = asked(reg, answers, 0)
    for question in range(1, 65):
        asked(reg, answers, question)
    assert asked(reg, answers, 0) is not first
