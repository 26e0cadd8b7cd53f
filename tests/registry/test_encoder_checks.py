"""Checks of encoders that are kept: the newest of each version, the history of one, and a quiet audit log."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from registry import connect
from registry.canaries import FARTHEST
from registry.errors import InvalidInput, NotAllowed, NotFound
from registry.types import Check
from tests.conftest import serving

TEXTS = ["red shoes", "blau <b>"]
VECTORS = np.eye(2, 4, dtype=np.float32)


def right(_):
    return VECTORS


def wrong(_):
    return np.array([[1, 0, 0, 0], [0, 0.8, 0.6, 0]])


@pytest.fixture
def held(reg):
    for model in ("hats", "shoes", "shoes"):
        ref = reg.register_version(model, dim=4).ref
        reg.add_canaries(ref, TEXTS, VECTORS)
    return reg


def verdicts(reg):
    changes = reg.changes(action="encoder.checked")
    return [(change.subject, change.details["ok"]) for change in reversed(changes)]


def test_what_was_found_is_kept_if_it_was_asked_for(held):
    assert held.verify_encoder("shoes/2", right).ok
    assert held.encoder_checks() == held.encoder_checks("shoes/2") == verdicts(held) == []
    before = datetime.now(UTC)
    found = held.verify_encoder("shoes/2", wrong, tolerance=0.05, record=True)
    (kept,) = held.encoder_checks("shoes/2")
    assert kept.version == "shoes/2" and not kept.ok
    assert kept.deviation == pytest.approx(max(found.deviations)) and kept.tolerance == 0.05
    assert kept.worst == "'blau <b>'"
    assert before <= kept.at <= datetime.now(UTC)
    assert kept.who.endswith("(local)")
    assert held.verify_encoder("shoes/2", wrong, tolerance=0.9, record=True).ok
    assert held.encoder_checks("shoes/2")[0].ok


def test_the_newest_of_each_version_and_the_history_of_one(held):
    held.set_alias("shoes", "live", 2)
    for ref, encode in (("shoes/2", right), ("hats/1", wrong), ("shoes@live", wrong), ("shoes/1", right)):
        held.verify_encoder(ref, encode, record=True)
    assert [(c.version, c.ok) for c in held.encoder_checks()] == [
        ("hats/1", False), ("shoes/1", True), ("shoes/2", False),
    ]  # fmt: skip
    history = held.encoder_checks("shoes@live")
    assert [(c.version, c.ok) for c in history] == [("shoes/2", False), ("shoes/2", True)]
    pages = [held.page("encoder_checks", limit=2)]
    pages.append(held.page("encoder_checks", limit=2, after=pages[0].next))
    assert [c for page in pages for c in page.items] == held.encoder_checks() and pages[1].next is None
    one = held.page("encoder_checks", limit=1, ref="shoes/2")
    assert [*one.items, *held.page("encoder_checks", ref="shoes/2", after=one.next).items] == history
    with pytest.raises(InvalidInput, match="is no cursor of"):
        held.page("encoder_checks", after=one.next)
    with pytest.raises(NotFound, match="shoes/9"):
        held.encoder_checks("shoes/9")


def test_the_audit_log_hears_of_other_verdicts_only(held):
    for encode in (right, right, wrong, wrong, wrong, right):
        held.verify_encoder("shoes/1", encode, record=True)
    held.verify_encoder("hats/1", wrong, record=True)
    assert verdicts(held) == [("shoes/1", True), ("shoes/1", False), ("shoes/1", True), ("hats/1", False)]
    assert len(held.encoder_checks("shoes/1")) == 6


def test_what_cannot_be_is_refused_and_what_is_no_vector_is_kept_as_very_far(held):
    held.register_version("bare", dim=4)
    with pytest.raises(NotFound, match="bare/1 has no canaries"):
        held.record_check("bare/1", 0.1, tolerance=0.01, worst="x")
    for deviation, tolerance in ((-1, 0.1), (float("nan"), 0.1), (0.1, 0), (0.1, 2), (0.1, float("nan"))):
        with pytest.raises(InvalidInput):
            held.record_check("shoes/1", deviation, tolerance=tolerance, worst="x")
    assert held.encoder_checks() == []
    kept = held.record_check("shoes/1", 0.5, tolerance=0.01, worst="ü" * 400)
    assert kept == held.encoder_checks("shoes/1")[0]
    assert kept.worst == "ü" * 300
    held.verify_encoder("shoes/1", lambda _: np.full((2, 4), np.nan), record=True)
    (kept,) = held.encoder_checks()
    assert kept.deviation == FARTHEST and not kept.ok
    assert "deviated by 1e+06" in held.decisions()[0].says


def test_a_token_sees_the_checks_of_its_models_and_a_writer_adds_some(lite):
    for model in ("hats", "shoes"):
        lite.register_version(model, dim=4)
        lite.add_canaries(f"{model}/1", TEXTS, VECTORS)
        lite.verify_encoder(f"{model}/1", right, record=True)
    _, reader = lite.create_token("reader", models=["shoes"])
    _, writer = lite.create_token("ci", role="writer", models=["shoes"])
    with serving(lite) as url:
        with connect(url, token=reader) as client:
            assert [c.version for c in client.encoder_checks()] == ["shoes/1"]
            assert client.verify_encoder("shoes/1", right).ok
            for ask in (
                lambda: client.verify_encoder("shoes/1", right, record=True),
                lambda: client.encoder_checks("hats/1"),
                lambda: client.counts(),
            ):
                with pytest.raises(NotAllowed):
                    ask()
        with connect(url, token=writer) as client:
            client.verify_encoder("shoes/1", wrong, record=True)
            with pytest.raises(NotAllowed):
                client.record_check("hats/1", 0.0, tolerance=0.1, worst="x")
    newest = lite.encoder_checks("shoes/1")[0]
    assert isinstance(newest, Check) and (newest.ok, newest.who) == (False, "ci")
    assert len(lite.encoder_checks("hats/1")) == 1
