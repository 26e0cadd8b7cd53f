"""Appending, deleting, appending again, compaction and builds in any order: an index finds what is stored, and only that."""

import tempfile

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry import connect, gallery
from registry.indexes import standing
from tests.registry.indexed import indexed

D = 8
IDS = st.lists(st.integers(0, 60), min_size=1, max_size=25, unique=True)


class Indexed(RuleBasedStateMachine):
    """A gallery beside a dictionary that says what is in it."""

    @initialize(kind=st.sampled_from(["string", "int"]), metric=st.sampled_from(["cosine", "dot", "l2"]))
    def begin(self, kind, metric):
        self.before = gallery._SMALL_FILES, standing._FEW_ROWS
        gallery._SMALL_FILES, standing._FEW_ROWS = 3, 5  # so that compaction and selections come early
        self.folder = tempfile.TemporaryDirectory()
        self.reg = connect(f"{self.folder.name}/home")
        self.metric, self.kind, self.held, self.made, self.index = metric, kind, {}, 0, None
        self.reg.register_version("m", dim=D, metric=metric, normalized=False)
        self.reg.create_gallery("g", id_type=kind, labels=["odd"])

    def named(self, id):
        return f"i{id}" if self.kind == "string" else id

    @rule(ids=IDS)
    def append(self, ids):
        fresh = [id for id in ids if id not in self.held]
        if not fresh:
            return
        self.made += 1
        x = np.random.default_rng(self.made).standard_normal((len(fresh), D)).astype("f")
        labels = {"odd": [id % 2 for id in fresh]}
        self.reg.append("g", version="m/1", ids=[self.named(id) for id in fresh], vectors=x, labels=labels)
        self.held |= dict(zip(fresh, x, strict=True))

    @precondition(lambda self: self.held)
    @rule(ids=IDS)
    def delete(self, ids):
        self.reg.delete("g", [self.named(id) for id in ids])
        for id in ids:
            self.held.pop(id, None)

    @precondition(lambda self: self.held)
    @rule(kind=st.sampled_from(["exact", "exact", "hnsw", "ivf"]), seed=st.integers(0, 3))
    def build(self, kind, seed):
        self.index = indexed(self.reg, "g", kind=kind, seed=seed).kind

    @precondition(lambda self: self.index)
    @rule()
    def drop(self):
        self.reg.drop_index("g", "m/1")
        self.index = None

    @invariant()
    def finds_what_is_stored(self):
        for where, of in ((None, self.held), ({"odd": 1}, {id: x for id, x in self.held.items() if id % 2})):
            if not self.held:
                continue
            queries = np.random.default_rng(self.made + 1).standard_normal((3, D)).astype("f")
            hits = self.reg.search("g", queries, version="m/1", k=70, where=where)
            for ids, scores, query in zip(hits.ids.tolist(), hits.scores, queries, strict=True):
                found = dict(zip(ids, scores, strict=True))
                found.pop("" if self.kind == "string" else -1, None)
                assert set(found) == {self.named(id) for id in of}
                for id, x in of.items():
                    assert np.isclose(found[self.named(id)], self.score(query, x), rtol=1e-3, atol=1e-4)

    def score(self, query, x):
        if self.metric == "l2":
            return -((query - x) ** 2).sum()
        return query @ x / (np.linalg.norm(query) * np.linalg.norm(x) if self.metric == "cosine" else 1)

    def teardown(self):
        if hasattr(self, "reg"):
            self.reg.close()
            self.folder.cleanup()
            gallery._SMALL_FILES, standing._FEW_ROWS = self.before


TestIndexed = Indexed.TestCase
TestIndexed.settings = settings(
    max_examples=10, stateful_step_count=14, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
