"""Canaries: an encoder that no longer gives what was registered is noticed, and what is kept never changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from registry import canaries, connect
from registry.errors import (
    AlreadyExists,
    BadVector,
    CorruptFile,
    DimensionMismatch,
    Incompatible,
    InvalidInput,
    NotFound,
)

TEXTS = ["red shoes", "blau <b>", "ü\0", "x" * 500]


def encode(texts):
    """A deterministic encoder of texts, (n, 6)."""
    return np.stack([np.random.default_rng(list(t.encode())).standard_normal(6) for t in texts]).astype(np.float32)


@pytest.fixture
def with_canaries(reg):
    reg.register_version("products", dim=6)
    reg.add_canaries("products/1", TEXTS, encode(TEXTS))
    return reg


def test_the_registered_encoder_passes(with_canaries):
    found = with_canaries.verify_encoder("products/1", encode)
    assert found.ok and max(found.deviations) == 0
    found.raise_for_drift()
    assert "the encoder is the registered one: 4 canaries" in str(found)
    rounded = with_canaries.verify_encoder("products/1", lambda t: encode(t).astype(np.float16))
    assert rounded.ok and max(rounded.deviations) > 0, "half precision is no drift"
    assert with_canaries.verify_encoder("products/1", lambda t: 7 * encode(t)).ok, "cosine looks at directions"


def test_an_encoder_that_drifted_is_told_with_its_worst_input(with_canaries):
    def drifted(texts):
        made = encode(texts)
        made[0] = -made[0]
        return made

    found = with_canaries.verify_encoder("products/1", drifted)
    assert not found.ok and found.deviations[0] == pytest.approx(2) and max(found.deviations[1:]) == 0
    with pytest.raises(
        Incompatible, match=r"1 of 4 canaries deviate by more than 0.01.*'red shoes' most, by 2;"
    ) as told:
        found.raise_for_drift()
    assert "\n" not in str(told.value)


def test_lengths_count_where_the_metric_says_so(reg):
    reg.register_version("products", dim=6, metric="dot")
    reg.add_canaries("products/1", TEXTS, encode(TEXTS))
    assert not reg.verify_encoder("products/1", lambda t: 1.1 * encode(t)).ok
    assert reg.verify_encoder("products/1", lambda t: 1.1 * encode(t), tolerance=0.11).ok


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0])
def test_vectors_that_are_none_are_drift(with_canaries, bad):
    assert not with_canaries.verify_encoder("products/1", lambda t: np.full((len(t), 6), bad, np.float32)).ok


def test_another_width_or_number_is_refused(with_canaries):
    for wrong in (lambda t: encode(t)[:, :5], lambda t: encode(t)[:3]):
        with pytest.raises(DimensionMismatch, match="is it another version's"):
            with_canaries.verify_encoder("products/1", wrong)
    for tolerance in (0, -1, 2, True, "x", float("nan")):
        with pytest.raises(InvalidInput, match="tolerance"):
            with_canaries.verify_encoder("products/1", encode, tolerance=tolerance)


def test_they_are_kept_once_and_never_change(with_canaries, home, database_url):
    with pytest.raises(AlreadyExists, match="products/1 has canaries"):
        with_canaries.add_canaries("products/1", ["other"], np.ones((1, 6)))
    with connect(home, database=database_url) as again:
        assert again.canaries("products/1").inputs == tuple(TEXTS)
        np.testing.assert_array_equal(again.canaries("products/1").vectors, encode(TEXTS))
        for statement in ("UPDATE canaries SET count = 9", "DELETE FROM canaries"):
            with pytest.raises(DatabaseError, match="immutable"), again._home.database.engine.begin() as connection:
                connection.execute(text(statement))
        assert again.changes()[0].action == "canaries.added"


def test_inputs_may_be_arrays(lite):
    lite.register_version("images", dim=2)
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    lite.add_canaries("images/1", images, [[1.0, 2.0], [3.0, 4.0]])
    seen = []
    assert lite.verify_encoder("images/1", lambda x: seen.append(x) or np.array([[1.0, 2.0], [3.0, 4.0]])).ok
    np.testing.assert_array_equal(seen[0], images)
    assert seen[0].dtype == np.uint8 and seen[0].flags.writeable


@pytest.mark.parametrize(
    ("inputs", "vectors", "error"),
    [
        ([], np.empty((0, 6)), InvalidInput),
        ("abcdef", np.ones((6, 6)), InvalidInput),
        (["a", ""], np.ones((2, 6)), InvalidInput),
        (["a", 3], np.ones((2, 6)), InvalidInput),
        (["a"] * 1025, np.ones((1025, 6)), InvalidInput),
        (["a"], np.ones((2, 6)), InvalidInput),
        (np.array([object()] * 2), np.ones((2, 6)), InvalidInput),
        (np.ones(2), np.ones((2, 6)), InvalidInput),
        (["a"], np.ones((1, 5)), DimensionMismatch),
        (["a"], np.full((1, 6), np.nan), BadVector),
        (["a"], np.zeros((1, 6)), BadVector),
    ],
)
def test_what_cannot_be_kept_is_refused_whole(lite, home, inputs, vectors, error):
    lite.register_version("products", dim=6)
    with pytest.raises(error):
        lite.add_canaries("products/1", inputs, vectors)
    with pytest.raises(NotFound, match="has no canaries: store some with add_canaries"):
        lite.verify_encoder("products/1", encode)
    assert not list((home / "canaries").iterdir())


def test_a_damaged_or_missing_file_is_told(lite, home):
    lite.register_version("products", dim=6)
    lite.add_canaries("products/1", TEXTS, encode(TEXTS))
    (file,) = (home / "canaries").iterdir()
    sound = file.read_bytes()
    for at in range(0, len(sound), 37):
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises(CorruptFile, match="restore it from a backup"):
            lite.verify_encoder("products/1", encode)
    file.unlink()
    with pytest.raises(CorruptFile, match="is gone"):
        lite.canaries("products/1")


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8), st.integers(1, 9))
def test_what_is_written_is_read(texts, dim):
    vectors = np.random.default_rng(dim).standard_normal((len(texts), dim)).astype(np.float32)
    kept = canaries.made("m/1", texts, vectors, dim=dim)
    read = canaries.loads(canaries.dumps(kept), digest=kept.digest(), name="x")
    assert read.inputs == tuple(texts) and read.version == "m/1"
    np.testing.assert_array_equal(read.vectors, vectors)
