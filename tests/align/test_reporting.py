"""`align.reporting`: the table of an upgrade, against the metrics and the criterion themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align import metrics, reporting
from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.types import METRIC_NAMES

N = 60


def embeddings(d, noise, seed=0, dtype=np.float32):
    """Noisy class centres (N, d): six classes of ten; wider ones begin with the narrower ones' centres."""
    centres = np.random.default_rng(7).standard_normal((6, 16))[:, :d]
    rows = centres[labels()] + noise * np.random.default_rng([seed, d]).standard_normal((N, d))
    return rows.astype(dtype)


def labels():
    return np.repeat(np.arange(6), 10)


def alone(queries, gallery):
    return metrics.retrieval(
        queries, gallery, query_labels=labels(), gallery_labels=labels(), ks=range(1, 21), same_items=True, device="cpu"
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_cells_are_those_of_retrieval_and_the_gain_that_of_the_criterion(dtype):
    new, old = embeddings(12, 0.7, dtype=dtype), embeddings(8, 1.2, seed=1, dtype=dtype)
    found = reporting.compare(labels(), new, old=old, seed=3, device="cpu")
    sides = {"old/old": (old, old), "new/old": (new[:, :8], old), "new/new": (new, new)}
    for cell, (queries, gallery) in sides.items():
        wanted = alone(queries, gallery)
        assert {m: i.value for m, i in found.cells[cell].items()} == pytest.approx(
            {m: wanted.values()[m] for m in METRIC_NAMES}
        )
        assert found.cmc[cell] == wanted.cmc
    for m in METRIC_NAMES:
        wanted = metrics.empirical_criterion(alone(new[:, :8], old).per_query[m], alone(old, old).per_query[m], seed=3)
        gain = found.gain[m]
        assert (gain.value, gain.low, gain.high) == pytest.approx(
            (wanted.gain.value, wanted.gain.low, wanted.gain.high), abs=1e-6
        )
        assert found.verdicts[m] == wanted.verdict
    assert found.way == "their first 8 dimensions"


def test_an_upgrade_known_by_hand():
    """The old model takes the first pair apart; the new one mends that and breaks nothing; then the other way round."""
    bad = np.asarray([[1, 0], [0, 1], [0, 1.1], [1, 0.1]], dtype=np.float32)
    good = np.asarray([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
    up = reporting.compare([0, 0, 1, 1], good, old=bad, crossed=(good, good), device="cpu")
    assert up.cells["old/old"]["cmc@1"].value == 0 and up.cells["new/old"]["cmc@1"].value == 1
    assert (up.negative_flip_rate, up.verdicts["cmc@1"], up.update_gain["cmc@1"]) == (0, "compatible", 1)
    down = reporting.compare([0, 0, 1, 1], bad, old=good, crossed=(bad, bad), device="cpu")
    assert (down.negative_flip_rate, down.verdicts["cmc@1"]) == (1, "incompatible")
    assert down.numbers()["verdict/cmc_at_1"] == -1


def test_update_gain_is_a_share_of_the_reference_where_there_is_one():
    new, old, reference = embeddings(12, 0.9), embeddings(8, 1.2, seed=1), embeddings(12, 0.4, seed=2)
    found = reporting.compare(labels(), new, old=old, reference=reference, device="cpu")
    best = alone(reference, reference).map
    before, after = found.cells["old/old"]["map"].value, found.cells["new/old"]["map"].value
    assert found.update_gain["map"] == pytest.approx((after - before) / (best - before))
    assert found.reference == "reference" and "share of reference" in found.markdown()


def test_the_same_model_twice_leaves_nothing_to_gain():
    old = embeddings(8, 1.0)
    found = reporting.compare(labels(), old, old=old, device="cpu")
    assert found.update_gain == {} and set(found.verdicts.values()) == {"inconclusive"}
    assert all((i.value, i.low, i.high) == (0, 0, 0) for i in found.gain.values())
    assert "–" in found.markdown() and not any("update_gain" in name for name in found.numbers())


def test_without_an_old_model_or_a_way_to_it_there_is_no_verdict():
    new = embeddings(8, 1.0)
    found = reporting.compare(labels(), new, device="cpu")
    assert list(found.cells) == ["new/new"] and not found.gain and found.negative_flip_rate is None
    narrower = reporting.compare(labels(), new, old=embeddings(12, 1.0), device="cpu")
    assert list(narrower.cells) == ["old/old", "new/new"] and not narrower.verdicts
    assert "verdict" not in narrower.markdown()


def test_table_and_numbers_say_the_same(tmp_path):
    found = reporting.compare(labels(), embeddings(12, 0.7), old=embeddings(8, 1.2, seed=1), device="cpu")
    table, data, picture = reporting.write(found, tmp_path, title="six classes")
    text = table.read_text()
    rows = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in text.splitlines() if row.startswith("|")}
    assert text.startswith("# Compatibility on six classes\n") and "60 items" in text
    assert [cell.strip() for cell in rows["query/gallery"]] == list(METRIC_NAMES.values())
    value = found.cells["new/old"]["map"]
    assert rows["new/old"][2].strip() == f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    assert rows["verdict"][2].strip() == found.verdicts["map"]
    read = json.loads(data.read_text())
    assert read["cells"]["new/old"]["map"]["value"] == found.numbers()["new_old/map"] == value.value
    assert picture.read_bytes().startswith(b"\x89PNG")


@given(n=st.integers(1, 300), most=st.integers(2, 100), seed=st.integers(0, 9))
def test_a_sample_is_bounded_repeatable_and_rising(n, most, seed):
    rows = reporting.choose(n, most=most, seed=seed)
    assert len(rows) == min(n, most) and (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < n
    assert np.array_equal(rows, reporting.choose(n, most=most, seed=seed))


def test_refusals():
    new, old = embeddings(12, 0.7), embeddings(8, 1.2)
    spoilt = new.copy()
    spoilt[3, 1] = np.nan
    with pytest.raises(BadVector, match="row 3"):
        reporting.compare(labels(), spoilt, old=old, device="cpu")
    with pytest.raises(InvalidInput, match="60 rows"):
        reporting.compare(labels()[:-1], new, device="cpu")
    with pytest.raises(InvalidInput, match="no query has a relevant item"):
        reporting.compare(np.arange(N), new, device="cpu")
    with pytest.raises(InvalidInput):
        reporting.compare(labels(), new, old=old[:-1], device="cpu")
    with pytest.raises(DimensionMismatch):
        reporting.compare(labels(), new, old=old, crossed=(new, old), device="cpu")
    for bad in (1, 0, True, 2.5):
        with pytest.raises(InvalidInput, match="largest number"):
            reporting.choose(5, most=bad)
    with pytest.raises(InvalidInput, match="seed"):
        reporting.choose(5, seed=-1)
