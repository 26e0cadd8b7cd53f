"""A registry against plain dicts, through any order of writes, repeated requests, reads and reopenings."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry import connect
from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.transforms import Affine
from tests.conftest import serving

IDS = [f"i{n}" for n in range(12)] + ["it's", "ü", " "]
VERSIONS = ["m/1", "m/2"]
KEYS = st.sampled_from(["k1", "k2", "k3"])
ALIASES = ["champion", "old"]
TURN = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)  # m/2 is m/1 with its dimensions in another order


class RegistryMachine(RuleBasedStateMachine):
    """`stored[version][id]` is what the gallery must hold, `line` and `aliases` what the registry knows of a model."""

    def connect(self):
        """The registry, whose closing is left to `self.opened`."""
        return self.opened.enter_context(connect(self.folder / "home"))

    @initialize()
    def make(self):
        self.folder, self.opened = Path(tempfile.mkdtemp()), ExitStack()
        self.reg = self.connect()
        for _ in VERSIONS:
            self.reg.register_version("m", dim=3, metric="l2")
        self.reg.create_gallery("g")
        for source, target, weight in (("m/1", "m/2", TURN), ("m/2", "m/1", TURN.T)):
            self.reg.add_transform(
                Affine(weight=weight, bias=np.zeros(3), normalize=False), source=source, target=target
            )
        self.stored = {v: {} for v in VERSIONS}
        self.order, self.previews = [], {}
        self.made = 0
        self.line, self.aliases = [], {}
        self.asked = {}  # key -> what was asked under it, and the answer

    def teardown(self):
        if hasattr(self, "reg"):
            self.opened.close()
            shutil.rmtree(self.folder)

    def once(self, key, asked, do):
        """Whether `do(key)` is to change anything: it was not asked before. Holds its answer against the first one."""
        if key not in self.asked:
            answer = do(key)
            if key:
                self.asked[key] = (asked, answer)
            return answer
        before, answer = self.asked[key]
        if before == asked:
            assert do(key) == answer
        else:
            with pytest.raises(InvalidInput, match="was used for another request"):
                do(key)
        return None

    def vectors(self, n):
        """Vectors that were never given before, so that a mistaken row cannot pass."""
        self.made += 1
        return np.random.default_rng(self.made).standard_normal((n, 3)).astype(np.float32)

    def into(self, wanted):
        """Id -> vector as `wanted` must show it: the wanted version's own, else the other's, turned."""
        other = VERSIONS[1 - VERSIONS.index(wanted)]
        turn = TURN if wanted == "m/2" else TURN.T
        return {id: x @ turn for id, x in self.stored[other].items()} | self.stored[wanted]

    @rule(
        version=st.sampled_from(VERSIONS),
        ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=6, unique=True),
        key=st.none() | KEYS,
        cut=st.none() | st.integers(1, 5),
    )
    def append(self, version, ids, key, cut):
        x = self.vectors(len(ids))
        taken = [id for id in ids if id in self.stored[version]]

        def do(key):
            if cut is None:
                return self.reg.append("g", version=version, ids=ids, vectors=x, key=key)
            parts = [(ids[i], x[i], None) for i in (slice(None, cut), slice(cut, None)) if ids[i]]
            return self.reg.append_parts("g", version=version, parts=parts, key=key)

        try:
            answer = self.once(key, ("append", version, ids), do)
        except AlreadyExists as error:
            assert repr(taken[0]) in str(error)  # noqa: PT017
        else:
            if answer is not None:
                assert (taken, answer) == ([], len(ids))
                self.stored[version].update(zip(ids, x, strict=True))
                self.order += [id for id in ids if id not in self.order]

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True), key=st.none() | KEYS)
    def preview(self, ids, key):
        self.made += 1
        texts = [f"{id} {self.made}" for id in ids]
        try:
            answer = self.once(key, ("preview", ids), lambda key: self.reg.add_previews("g", ids, texts=texts, key=key))
        except NotFound:
            assert not set(ids) <= set(self.order)
        except AlreadyExists:
            assert set(ids) & set(self.previews)
        else:
            if answer is not None:
                assert set(ids) <= set(self.order) and not set(ids) & set(self.previews) and answer == len(ids)
                self.previews.update(zip(ids, texts, strict=True))

    @rule(limit=st.integers(1, 6), gone=st.lists(st.sampled_from(IDS), min_size=1, max_size=2))
    def browse(self, limit, gone):
        """Page by page, while items go after the first page."""
        page = self.reg.items("g", limit=limit, previews=True)
        seen, left = list(page.items), self.order[limit:]
        assert [i.id for i in seen] == self.order[:limit]
        if page.next:
            self.delete(gone, None)
            left = [id for id in left if id in self.order]
        expected = [self.item(i.id) if i.id in self.order else i for i in seen] + [self.item(id) for id in left]
        while page.next:
            page = self.reg.items("g", after=page.next, limit=limit, previews=True)
            seen += page.items
        assert seen == expected

    def item(self, id):
        """The item as it must be shown."""
        found = self.reg.item("g", id)
        versions = [v for v in VERSIONS if id in self.stored[v]]
        assert (sorted(found.versions), found.preview) == (versions, self.previews.get(id))
        return found

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=5), key=st.none() | KEYS)
    def delete(self, ids, key):
        key = key if ids else None  # a client does not even ask to delete nothing
        there = {id for id in ids if any(id in held for held in self.stored.values())}
        answer = self.once(key, ("delete", ids), lambda key: self.reg.delete("g", ids, key=key))
        if answer is not None:
            assert answer == len(there)
            for held in self.stored.values():
                for id in there:
                    held.pop(id, None)
            self.order = [id for id in self.order if id not in there]
            self.previews = {id: text for id, text in self.previews.items() if id not in there}

    @rule(dim=st.integers(1, 3), key=st.none() | KEYS)
    def register(self, dim, key):
        answer = self.once(key, ("register", dim), lambda key: self.reg.register_version("line", dim=dim, key=key).ref)
        if answer is not None:
            self.line.append(dim)
            assert answer == f"line/{len(self.line)}"

    @rule(alias=st.sampled_from(ALIASES), number=st.integers(1, 6))
    def set_alias(self, alias, number):
        try:
            self.reg.set_alias("line", alias, number)
        except NotFound:
            assert number > len(self.line)
        else:
            assert number <= len(self.line)
            self.aliases[alias] = number

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
        self.opened.close()
        self.reg = self.connect()

    @invariant()
    def counts_are_right(self):
        if hasattr(self, "reg"):
            gallery = self.reg.gallery("g")
            assert (gallery.items, gallery.previews) == (len(self.into("m/1")), len(self.previews))
            counted = {s.version: s.rows for s in gallery.segments}
            assert {v: counted.get(v, 0) for v in VERSIONS} == {v: len(held) for v, held in self.stored.items()}

    @rule()
    def versions_and_aliases(self):
        model = next((m for m in self.reg.models() if m.name == "line"), None)
        assert dict(model.aliases if model else {}) == self.aliases
        found = self.reg.versions("line") if model else []
        assert [(v.number, v.dim) for v in found] == list(enumerate(self.line, 1))
        assert {a: v.number for v in found for a in v.aliases} == self.aliases
        for alias, number in self.aliases.items():
            assert self.reg.version(f"line@{alias}").number == number


class ServedMachine(RegistryMachine):
    """The same, as the client of a server sees it."""

    def connect(self):
        url = self.opened.enter_context(serving(super().connect()))
        return self.opened.enter_context(connect(url))


def _settings(examples):
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = _settings(12)
TestServed = ServedMachine.TestCase
TestServed.settings = _settings(3)
