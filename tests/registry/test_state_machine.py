"""A gallery against a plain dict, through any order of appends, deletes, reads and reopenings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry import connect
from registry.errors import AlreadyExists, NotFound
from registry.transforms import Affine

IDS = [f"i{n}" for n in range(12)] + ["it's", "ü", " "]
VERSIONS = ["m/1", "m/2"]
TURN = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)  # m/2 is m/1 with its dimensions in another order


class GalleryMachine(RuleBasedStateMachine):
    """`stored[version][id]` is what the registry must hold."""

    @initialize()
    def make(self):
        self.folder = Path(tempfile.mkdtemp())
        self.reg = connect(self.folder / "home")
        for _ in VERSIONS:
            self.reg.register_version("m", dim=3, metric="l2")
        self.reg.create_gallery("g")
        for source, target, weight in (("m/1", "m/2", TURN), ("m/2", "m/1", TURN.T)):
            self.reg.add_transform(
                Affine(weight=weight, bias=np.zeros(3), normalize=False), source=source, target=target
            )
        self.stored = {v: {} for v in VERSIONS}
        self.made = 0

    def teardown(self):
        if hasattr(self, "reg"):
            self.reg.close()
            shutil.rmtree(self.folder)

    def vectors(self, n):
        """Vectors that were never given before, so that a mistaken row cannot pass."""
        self.made += 1
        return np.random.default_rng(self.made).standard_normal((n, 3)).astype(np.float32)

    def into(self, wanted):
        """Id -> vector as `wanted` must show it: the wanted version's own, else the other's, turned."""
        other = VERSIONS[1 - VERSIONS.index(wanted)]
        turn = TURN if wanted == "m/2" else TURN.T
        return {id: x @ turn for id, x in self.stored[other].items()} | self.stored[wanted]

    @rule(version=st.sampled_from(VERSIONS), ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=6, unique=True))
    def append(self, version, ids):
        x = self.vectors(len(ids))
        taken = [id for id in ids if id in self.stored[version]]
        try:
            self.reg.append("g", version=version, ids=ids, vectors=x)
        except AlreadyExists as error:
            assert repr(taken[0]) in str(error)  # noqa: PT017
        else:
            assert taken == []
            self.stored[version].update(zip(ids, x, strict=True))

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=5))
    def delete(self, ids):
        there = {id for id in ids if any(id in held for held in self.stored.values())}
        assert self.reg.delete("g", ids) == len(there)
        for held in self.stored.values():
            for id in there:
                held.pop(id, None)

    @rule(version=st.sampled_from(VERSIONS), ids=st.lists(st.sampled_from(IDS), max_size=5))
    def fetch(self, version, ids):
        expected = self.into(version)
        try:
            got = self.reg.fetch("g", ids=ids, into=version, allow_unmeasured=True)
        except NotFound:
            assert any(id not in expected for id in ids)
        else:
            assert got.ids.tolist() == ids
            for id, vector in zip(ids, got.vectors, strict=True):
                np.testing.assert_array_equal(vector, expected[id])

    @rule(version=st.sampled_from(VERSIONS), k=st.integers(1, 20))
    def search(self, version, k):
        expected, query = self.into(version), self.vectors(1)
        scores = {id: -float(np.sum((x.astype(np.float64) - query[0]) ** 2)) for id, x in expected.items()}
        hits = self.reg.search("g", query, version=version, k=k, allow_unmeasured=True)
        n = min(k, len(scores))
        assert hits.ids[0, n:].tolist() == [""] * (k - n)
        best = sorted(scores, key=scores.get, reverse=True)[:n]
        assert hits.ids[0, :n].tolist() == best
        np.testing.assert_allclose(hits.scores[0, :n], [scores[id] for id in best], rtol=1e-4, atol=1e-5)

    @rule(version=st.sampled_from(VERSIONS), rows=st.integers(1, 8))
    def scan(self, version, rows):
        expected, seen = self.into(version), {}
        for block in self.reg.scan("g", into=version, rows=rows, allow_unmeasured=True):
            assert 0 < len(block) <= rows
            for id, vector in zip(block.ids.tolist(), block.vectors, strict=True):
                assert id not in seen
                seen[id] = vector
        assert set(seen) == set(expected)
        for id, vector in seen.items():
            np.testing.assert_array_equal(vector, expected[id])

    @precondition(lambda self: self.made)
    @rule()
    def reopen(self):
        self.reg.close()
        self.reg = connect(self.folder / "home")

    @invariant()
    def counts_are_right(self):
        if hasattr(self, "reg"):
            gallery = self.reg.gallery("g")
            assert gallery.items == len(self.into("m/1"))
            counted = {s.version: s.rows for s in gallery.segments}
            assert {v: counted.get(v, 0) for v in VERSIONS} == {v: len(held) for v, held in self.stored.items()}


TestGallery = GalleryMachine.TestCase
TestGallery.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
