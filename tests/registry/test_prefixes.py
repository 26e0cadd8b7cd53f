"""Prefixes of nested embeddings: a space with its own evaluation, and a shortlist for the whole vectors."""

from __future__ import annotations

import numpy as np
import pytest

from registry.errors import BadName, DimensionMismatch, InvalidInput
from registry.retrieval import retrieval

LABELS = np.arange(120) % 6


def nested(n=120, seed=0):
    """Labels told apart by the first four dimensions, better still by all sixteen."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((6, 16))
    return (centres[np.arange(n) % 6] + 0.8 * rng.standard_normal((n, 16))).astype(np.float32)


@pytest.fixture
def filled(lite):
    lite.register_version("m", dim=16)
    lite.create_gallery("b", id_type="int", labels=["class"])
    lite.append("b", version="m/1", ids=np.arange(120), vectors=nested(), labels={"class": LABELS})
    return lite


class TestEvaluation:
    def test_a_prefix_is_measured_on_itself_and_says_what_the_cut_costs(self, filled):
        matrix = filled.evaluate("b", versions=["m/1", "m/1[:4]"])
        (cut,) = [e for e in matrix.evaluations if e.role == "path"]
        x = nested()
        whole, part = (
            retrieval(v, v, query_labels=LABELS, gallery_labels=LABELS, same_items=True).map for v in (x, x[:, :4])
        )
        assert (cut.query, cut.gallery, cut.query_path, cut.gallery_path) == ("m/1", "m/1", ("[:4]",), ("[:4]",))
        assert cut.value == pytest.approx(part)
        assert cut.gain == pytest.approx(part - whole)
        assert cut.verdict is None, "nothing is replaced, so nothing is compatible or not"
        assert cut.way == "own space cut to [:4]"

    def test_the_own_cell_stays_that_of_the_whole_vectors(self, filled):
        matrix = filled.evaluate("b", versions=["m/1[:15]", "m/1[:4]"])
        assert matrix.cell("m/1", "m/1").role == "self"
        assert len([e for e in matrix.evaluations if e.role == "path"]) == 2

    def test_the_whole_width_is_the_version_itself(self, filled):
        assert all(e.role == "self" for e in filled.evaluate("b", versions=["m/1[:16]"]).evaluations)

    def test_what_is_no_prefix_is_refused(self, filled):
        with pytest.raises(DimensionMismatch, match="asks for 17 dimensions"):
            filled.evaluate("b", versions=["m/1[:17]"])
        with pytest.raises(BadName):
            filled.evaluate("b", versions=["m/1[4:]"])


class TestShortlist:
    def test_with_all_items_as_candidates_it_is_exact(self, filled):
        queries = nested(7, seed=1)
        exact = filled.search("b", queries, version="m/1", k=9)
        short = filled.search("b", queries, version="m/1", k=9, shortlist=4, candidates=120)
        assert np.array_equal(short.ids, exact.ids)
        assert short.scores == pytest.approx(exact.scores, abs=1e-6)

    def test_candidates_come_from_the_prefix_and_scores_from_the_whole(self, filled):
        queries = nested(7, seed=1)
        short = filled.search("b", queries, version="m/1", k=5, shortlist=4, candidates=10)
        first = filled.search("b", queries[:, :4], version="m/1[:4]", k=10)
        x = nested()
        for row, ids in enumerate(short.ids):
            assert set(ids) <= set(first.ids[row])
            q = queries[row] / np.linalg.norm(queries[row])
            cosines = {int(i): float(q @ x[i] / np.linalg.norm(x[i])) for i in first.ids[row]}
            assert list(ids) == sorted(cosines, key=lambda i: -cosines[i])[:5]
            assert short.scores[row] == pytest.approx(sorted(cosines.values())[:-6:-1], abs=1e-6)

    def test_deleted_items_do_not_come_back(self, filled):
        queries = nested(3, seed=1)
        gone = filled.search("b", queries, version="m/1", k=3, shortlist=4).ids
        filled.delete("b", np.unique(gone).tolist())
        assert not set(filled.search("b", queries, version="m/1", k=3, shortlist=4).ids.ravel()) & set(gone.ravel())

    def test_a_small_gallery_leaves_places_empty(self, filled):
        filled.delete("b", list(range(4, 120)))
        hits = filled.search("b", nested(2, seed=1), version="m/1", k=6, shortlist=4)
        assert (hits.ids[:, 4:] == -1).all()
        assert np.isneginf(hits.scores[:, 4:]).all()
        assert sorted(hits.ids[0, :4]) == [0, 1, 2, 3]

    def test_string_ids(self, lite):
        lite.register_version("m", dim=16)
        lite.create_gallery("s", id_type="string")
        lite.append("s", version="m/1", ids=[f"i{i}" for i in range(120)], vectors=nested())
        queries = nested(3, seed=1)
        exact = lite.search("s", queries, version="m/1", k=4)
        short = lite.search("s", queries, version="m/1", k=4, shortlist=8, candidates=120)
        assert short.ids.tolist() == exact.ids.tolist()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"shortlist": 16}, "needs a space of more"),
            ({"shortlist": 0}, "shortlist must be a whole number from 1"),
            ({"shortlist": True}, "shortlist must be a whole number"),
            ({"shortlist": 4, "candidates": 2}, "candidates must be a whole number from 3"),
            ({"candidates": 20}, "candidates belong to a shortlist"),
        ],
    )
    def test_refusals(self, filled, options, message):
        with pytest.raises(InvalidInput, match=message):
            filled.search("b", nested(1), version="m/1", k=3, **options)

    def test_distances_have_no_shortlist(self, lite):
        lite.register_version("d", dim=16, metric="l2")
        lite.create_gallery("g", id_type="int")
        lite.append("g", version="d/1", ids=np.arange(120), vectors=nested())
        with pytest.raises(InvalidInput, match="compared by l2"):
            lite.search("g", nested(1), version="d/1", k=3, shortlist=4)
