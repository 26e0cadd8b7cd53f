"""Studies: their numbers against plain loops and against `evaluate`, and that what is kept stays and is guarded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from align.metrics import neighbour_overlap, verification
from registry import connect, studying
from registry.backup import backup, restore
from registry.checking import check
from registry.errors import CorruptFile, InvalidInput, NotFound
from registry.transforms import Affine
from registry.types import STAGES

N = 28  # below what t-SNE needs: quick
CELLS = {"today": ("m/1", "m/1"), "upgraded": ("m/2", "m/1"), "backfilled": ("m/2", "m/2")}


def space(n=N, d=6, classes=4, seed=0):
    """Labels (n,), and vectors (n, d) of an old version and of a better new one, of lengths that differ."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = rng.standard_normal((classes, d))
    x = centres[labels] + 1.1 * rng.standard_normal((n, d))
    y = (x + 0.8 * centres[labels]) @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    return labels, x.astype(np.float32), (y * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)


def filled(reg, *, metric="cosine", path=True, n=N, seed=0, name="b"):
    """A benchmark of two versions with a measured map from the new one to the old one, and slices of two sizes."""
    labels, x, y = space(n, seed=seed)
    for dim in (6, 6):
        reg.register_version("m", dim=dim, metric=metric)
    reg.create_gallery(name, id_type="string", labels=["class", "size"])
    more = {"class": [f"c{c}" for c in labels], "size": (np.arange(n) % 3 == 0).astype(int)}
    for ref, vectors in (("m/1", x), ("m/2", y)):
        reg.append(name, version=ref, ids=[f"i{i}" for i in range(n)], vectors=vectors, labels=more)
    weight = np.linalg.lstsq(y, x, rcond=None)[0].astype(np.float32)
    if path:
        reg.add_transform(
            Affine(weight=weight, bias=np.zeros(6), normalize=metric == "cosine"), source="m/2", target="m/1"
        )
    reg.evaluate(name)
    mapped = (y / np.linalg.norm(y, axis=1, keepdims=True) if metric == "cosine" else y) @ weight
    return labels, {"today": (x, x), "upgraded": (mapped, x), "backfilled": (y, y)}


def scored(queries, stored, metric):
    """All scores (n, n) in double precision, larger is closer."""
    q, g = (np.asarray(x, np.float64) for x in (queries, stored))
    if metric == "cosine":
        q, g = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, g))
    return -np.square(q[:, None] - g).sum(axis=2) if metric == "l2" else q @ g.T


def ranked(scores, labels):
    """Average precision and CMC at some ranks of each query, its own row left out; a score of -inf is no result."""
    precision, cmc = [], {k: [] for k in (1, 2, 3, 5, 10, 20)}
    for i, row in enumerate(scores):
        others = [j for j in np.argsort(-row, kind="stable") if j != i]
        right = np.array([labels[j] == labels[i] and row[j] > -np.inf for j in others])
        places = np.flatnonzero(right)
        precision.append((np.arange(1, len(places) + 1) / (places + 1)).sum() / (np.sum(labels == labels[i]) - 1))
        for k in cmc:
            cmc[k].append(right[:k].any())
    return np.array(precision), {k: np.array(hits) for k, hits in cmc.items()}


def column(items, name):
    return items[name].to_numpy()


def is_same(one, two):
    """Whether two tables hold the same, NaN being NaN."""
    return one.schema == two.schema and all(
        np.array_equal(
            column(one, name), column(two, name), equal_nan=pa.types.is_floating(one.schema.field(name).type)
        )
        for name in one.column_names
    )


# What it measures


def test_it_measures_what_evaluate_does_and_is_kept(reg):
    filled(reg)
    steps = []
    found = reg.study("m/1", "m/2", progress=lambda done, of: steps.append((done, of)))
    assert (found.benchmark, found.label, found.old, found.new) == ("b", "class", "m/1", "m/2")
    assert (found.has_path, found.kinds, found.items, found.queries) == (True, ("affine",), N, N)
    items = reg.study_items(found.id)
    assert items["id"].to_pylist() == [f"i{i}" for i in range(N)]
    for stage, pair in CELLS.items():
        cells = {m: reg.matrix("b", metric=m).cell(*pair) for m in ("map", "cmc@1", "cmc@5")}
        at = dict(zip(found.cmc[stage].at, range(9), strict=False))
        for k in (1, 5):
            measured, curve = cells[f"cmc@{k}"], found.cmc[stage]
            told = [values[at[k]] for values in (curve.values, curve.low, curve.high)]
            assert told == pytest.approx([measured.value, measured.low, measured.high], abs=1e-6)
        assert np.nanmean(column(items, f"ap_{stage}")) == pytest.approx(cells["map"].value, abs=1e-6)
    assert steps[-1][0] == steps[-1][1] and [done for done, _ in steps] == sorted(done for done, _ in steps)

    assert reg.studies() == [found] and reg.stored_study(found.id) == found
    assert reg.newest_study("m/1", "m/2", benchmark="b", label="class") == found
    change = reg.changes(limit=1)[0]
    assert (change.action, change.subject) == ("benchmark.studied", "b")
    assert (change.details["study"], change.details["old"], change.details["new"]) == (found.id, "m/1", "m/2")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_its_numbers_equal_plain_loops(lite, metric):
    labels, sides = filled(lite, metric=metric)
    found = lite.study("m/1", "m/2")
    items = lite.study_items(found.id)
    size = (np.arange(N) % 3 == 0).astype(int)
    assert items.column_names == [
        "id", "label.class", "label.size", "x_old", "y_old", "x_new", "y_new", "overlap",
        *(f"{what}_{stage}" for what in ("ap", "hit") for stage in STAGES),
    ]  # fmt: skip
    assert column(items, "label.size").tolist() == size.tolist()

    scores = {stage: scored(*both, metric) for stage, both in sides.items()}
    values = {stage: ranked(s, labels) for stage, s in scores.items()}
    for stage, (precision, cmc) in values.items():
        np.testing.assert_allclose(column(items, f"ap_{stage}"), precision, atol=1e-5)
        np.testing.assert_array_equal(column(items, f"hit_{stage}"), cmc[1])
        assert found.cmc[stage].at == (1, 2, 3, 5, 10, 20)
        assert found.cmc[stage].values == pytest.approx([hits.mean() for hits in cmc.values()])

    assert [g.gain for g in found.groups] == sorted(g.gain for g in found.groups)
    groups = {(g.column, g.value): g for g in found.groups}
    assert set(groups) == {*(("class", f"c{c}") for c in range(4)), ("size", "0"), ("size", "1")}
    for (name, value), g in groups.items():
        rows = (labels == int(value[1:])) if name == "class" else (size == int(value))
        before, after = (values[stage][1][1][rows] for stage in ("today", "upgraded"))
        assert (g.queries, g.negative_flips, g.positive_flips) == (
            rows.sum(), np.sum(before & ~after), np.sum(~before & after),
        )  # fmt: skip
        assert dict(g.map) == pytest.approx({stage: p[rows].mean() for stage, (p, _) in values.items()}, abs=1e-5)
        assert g.gain == pytest.approx(g.map["upgraded"] - g.map["today"], abs=1e-5)
        assert g.gain_low <= g.gain <= g.gain_high

    own, same = np.eye(N, dtype=bool), labels[:, None] == labels
    for stage, s in scores.items():
        told = found.scores[stage]
        for counts, of in ((told.positives, same & ~own), (told.negatives, ~same)):
            edges = [told.edges[0] - 1e-4, *told.edges[1:-1], told.edges[-1] + 1e-4]  # the ends are scores, rounded
            assert list(counts) == np.histogram(s[of], bins=edges)[0].tolist()
        for t in (t for t in found.thresholds if t.stage == stage):
            assert (
                np.mean(s[~same] > t.threshold + 1e-5) <= t.false_match_rate <= np.mean(s[~same] > t.threshold - 1e-5)
            )
            assert t.match_rate == pytest.approx(np.mean(s[same & ~own] > t.threshold + 1e-6))
    assert [t.false_match_rate for t in found.thresholds if t.stage == "today"] == [0.1]  # of 588 pairs, 1 % are 5


def test_thresholds_are_those_of_verification(lite):
    """TAR at each FAR as `align.metrics.verification` finds it, and what a threshold that is not moved lets through."""
    labels, sides = filled(lite, n=60)
    found = {(t.stage, t.false_match_rate): t for t in lite.study("m/1", "m/2").thresholds}
    left, right = np.nonzero(~np.eye(60, dtype=bool))
    assert set(found) == {(stage, rate) for stage in STAGES for rate in (0.1, 0.01)}
    for (stage, rate), t in found.items():
        queries, stored = sides[stage]
        told = verification(queries[left], stored[right], labels[left] == labels[right], far=[rate])
        assert t.match_rate == pytest.approx(told.tar[rate], abs=1e-9)
        others = scored(queries, stored, "cosine")[labels[:, None] != labels]
        today = found["today", rate].threshold  # a score in single precision, one of these where the stage is today
        assert np.mean(others > today + 1e-6) <= t.kept_false_match_rate <= np.mean(others > today - 1e-6)


def test_overlap_counts_shared_neighbours(lite):
    _, sides = filled(lite)
    found = lite.study("m/1", "m/2")
    near = [
        [set(np.argsort(-np.where(np.arange(N) == i, -np.inf, row), kind="stable")[:10]) for i, row in enumerate(s)]
        for s in (scored(*sides[stage], "cosine") for stage in ("today", "backfilled"))
    ]
    shared = [len(a & b) for a, b in zip(*near, strict=True)]
    np.testing.assert_allclose(column(lite.study_items(found.id), "overlap"), np.array(shared) / 10, atol=1e-6)
    assert found.overlap.k == 10
    assert found.overlap.counts == tuple(np.bincount(shared, minlength=11))
    assert found.overlap.mean == pytest.approx(neighbour_overlap(sides["today"][0], sides["backfilled"][0], 10))


def test_the_best_measured_path_is_taken_on_the_stored_side_too(lite):
    labels, x, y = space()
    lite.register_version("m", dim=6)
    lite.register_version("m", dim=6)
    lite.create_gallery("b", id_type="int", labels=["class"])
    for ref, vectors in (("m/1", x), ("m/2", y)):
        lite.append("b", version=ref, ids=np.arange(N), vectors=vectors, labels={"class": labels})
    bad = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32)
    lite.add_transform(Affine(weight=bad, bias=np.zeros(6)), source="m/2", target="m/1")
    good = np.linalg.lstsq(x, y, rcond=None)[0].astype(np.float32)
    info = lite.add_transform(Affine(weight=good, bias=np.zeros(6)), source="m/1", target="m/2")
    best = lite.evaluate("b").cell("m/2", "m/1")
    assert best.gallery_path == (info.id,)
    found = lite.study("m/1", "m/2")
    assert (found.query_path, found.gallery_path, found.kinds) == ((), (info.id,), ("affine",))
    items = lite.study_items(found.id)
    assert np.nanmean(column(items, "ap_upgraded")) == pytest.approx(best.value, abs=1e-6)


def test_without_a_path_nothing_is_upgraded(reg):
    labels, sides = filled(reg, path=False)
    found = reg.study("m/1", "m/2")
    assert (found.has_path, found.query_path, found.gallery_path, found.kinds) == (False, (), (), ())
    for told in (found.cmc, found.scores, found.groups[0].map):
        assert set(told) == {"today", "backfilled"}
    assert {t.stage for t in found.thresholds} == {"today", "backfilled"}
    items = reg.study_items(found.id)
    assert np.isnan(column(items, "ap_upgraded")).all() and np.isnan(column(items, "hit_upgraded")).all()
    for g in found.groups:
        assert g.gain == pytest.approx(g.map["backfilled"] - g.map["today"], abs=1e-9)
    assert [(f.order, f.metric) for f in found.filling] == [("random", "map"), ("random", "cmc@1")]
    precision, cmc = ranked(scored(*sides["backfilled"], "cosine"), labels)
    for f, last in zip(found.filling, (precision.mean(), cmc[1].mean()), strict=True):
        assert f.curve.values[0] == 0  # nothing that the new version can read is there yet
        assert f.curve.values[-1] == pytest.approx(last, abs=1e-6)


def test_queries_are_items_that_have_something_to_find(lite):
    labels, x, y = space()
    labels = labels.copy()
    labels[:3] = [91, 92, 93]  # one of a kind each
    for dim in (6, 6):
        lite.register_version("m", dim=dim)
    lite.create_gallery("b", id_type="int", labels=["class"])
    for ref, vectors in (("m/1", x), ("m/2", y)):
        lite.append("b", version=ref, ids=np.arange(N), vectors=vectors, labels={"class": labels})
    cell = lite.evaluate("b").cell("m/1", "m/1")
    found = lite.study("m/1", "m/2")
    assert (found.items, found.queries, cell.queries) == (N, N - 3, N - 3)
    precision = column(lite.study_items(found.id), "ap_today")
    assert np.flatnonzero(np.isnan(precision)).tolist() == [0, 1, 2]
    assert np.nanmean(precision) == pytest.approx(cell.value, abs=1e-6)
    assert {g.value for g in found.groups} == {"0", "1", "2", "3"}


def test_large_benchmarks_are_sampled(lite, monkeypatch):
    labels, sides = filled(lite, n=90)
    monkeypatch.setattr(studying, "MOST_ITEMS", N)
    monkeypatch.setattr(studying, "MOST_QUERIES", 15)
    found = lite.study("m/1", "m/2", seed=3)
    assert (found.items, found.queries, found.seed) == (N, 15, 3)
    items = lite.study_items(found.id)
    rows = np.array([int(id[1:]) for id in items["id"].to_pylist()])
    assert len(set(rows)) == N and rows.max() > N
    asked = ~np.isnan(column(items, "ap_today"))
    assert asked.sum() == 15
    for stage, (queries, stored) in sides.items():
        precision, _ = ranked(scored(queries[rows], stored[rows], "cosine"), labels[rows])
        np.testing.assert_allclose(column(items, f"ap_{stage}")[asked], precision[asked], atol=1e-5)
    again = lite.study_items(lite.study("m/1", "m/2", seed=3).id)
    assert is_same(items, again)
    assert lite.study_items(lite.study("m/1", "m/2", seed=4).id)["id"] != items["id"]


def test_the_same_seed_gives_the_same_study(lite):
    filled(lite, n=40)
    one, two = (lite.study("m/1", "m/2", seed=5) for _ in range(2))
    apart = {"id", "created_at"}
    assert all(getattr(one, f) == getattr(two, f) for f in one.__slots__ if f not in apart)
    items = lite.study_items(one.id)
    assert is_same(items, lite.study_items(two.id))
    places = np.column_stack([column(items, name) for name in ("x_old", "y_old", "x_new", "y_new")])
    assert np.abs(places).max() == pytest.approx(1)
    assert len(np.unique(places, axis=0)) == 40


# What it is kept as


def test_studies_are_listed_newest_first_and_filtered(reg):
    filled(reg)
    one = reg.study("m/1", "m/2")
    reg.evaluate("b", label="size")
    two = reg.study("m/1", "m/2", benchmark="b", label="size")
    back = reg.study("m/2", "m/1", label="class")
    assert (one.label, two.label) == ("class", "size")
    assert reg.studies() == [back, two, one]
    assert reg.studies(old="m/1") == reg.studies(new="m/2", benchmark="b") == [two, one]
    assert reg.studies(label="size") == [two] and list(reg.iter_studies(label="class", page=1)) == [back, one]
    first = reg.page("studies", limit=2)
    assert first.items == (back, two) and reg.page("studies", after=first.next).items == (one,)
    assert reg.newest_study("m/1", "m/2") == two and reg.newest_study("m/1", "m/2", label="class") == one
    reg.set_alias("m", "live", 2)
    assert reg.newest_study("m/1", "m@live", benchmark="b", label="class") == one
    assert reg.newest_study("m/2", "m/1", label="size") is None
    for filters in ({"old": "m/9"}, {"new": "nope/1"}, {"benchmark": "nope"}, {"benchmark": "b", "label": "nope"}):
        with pytest.raises(NotFound):
            reg.studies(**filters)
    with pytest.raises(NotFound, match="there is no study"):
        reg.stored_study("study-0000000000000000")
    with pytest.raises(NotFound, match="there is no study"):
        reg.study_items("../registry.db")


def test_what_it_cannot_study(reg):
    labels, x, y = space()
    for dim in (6, 6, 6):
        reg.register_version("m", dim=dim)
    reg.create_gallery("b", id_type="int", labels=["class", "each"])
    for ref, vectors in (("m/1", x), ("m/2", y)):
        more = {"class": labels, "each": np.arange(N)}
        reg.append("b", version=ref, ids=np.arange(N), vectors=vectors, labels=more)
    with pytest.raises(NotFound, match="samespace evaluate"):
        reg.study("m/1", "m/2")
    reg.evaluate("b")
    with pytest.raises(InvalidInput, match="m/1 twice"):
        reg.study("m/1", "m/1", benchmark="b")
    with pytest.raises(NotFound, match="there is no version m/9"):
        reg.study("m/1", "m/9", benchmark="b")
    with pytest.raises(NotFound, match="no label column"):
        reg.study("m/1", "m/2", benchmark="b", label="shape")
    with pytest.raises(NotFound, match="is measured on 0 benchmarks"):
        reg.study("m/1", "m/3", benchmark="b")
    with pytest.raises(InvalidInput, match="seed"):
        reg.study("m/1", "m/2", benchmark="b", seed=-1)
    assert reg.studies() == []


def test_items_that_are_deleted_afterwards_stay_in_it(reg):
    filled(reg)
    found = reg.study("m/1", "m/2")
    before = reg.study_items(found.id)
    reg.delete("b", [f"i{i}" for i in range(20)])
    assert reg.study_items(found.id).equals(before) and len(before) == N
    assert reg.studies() == [found]


@pytest.mark.embedded
def test_a_file_that_is_damaged_or_gone_is_told(reg):
    filled(reg)
    found = reg.study("m/1", "m/2")
    home = reg._home
    file = home.layout.study_of(found.id)
    assert [f.level for f in check(home.database, home.layout)] == ["ok", "ok"]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptFile, match="fails its checksum"):
        reg.study_items(found.id)
    wrong = [f for f in check(home.database, home.layout) if f.level == "problem"]
    assert [f.what for f in wrong] == [f"study {found.id}"] and "files/studies" in wrong[0].mend
    file.unlink()
    with pytest.raises(CorruptFile, match="is gone"):
        reg.study_items(found.id)
    assert reg.stored_study(found.id) == found


def test_a_backup_holds_it(lite, tmp_path):
    filled(lite)
    found = lite.study("m/1", "m/2")
    backup(lite._home.layout, lite._home.database, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    with connect(tmp_path / "again") as reg:
        assert reg.studies() == [found]
        assert reg.study_items(found.id).equals(lite.study_items(found.id))


def test_a_list_takes_as_many_statements_whatever_its_length(lite):
    from bench.facts import statements

    filled(lite)
    counts = []
    for _ in range(2):
        lite.study("m/1", "m/2")
        with statements(lite) as seen:
            lite.page("studies", old="m/1", new="m/2", benchmark="b", label="class")
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 4


def test_over_http_only_who_covers_both_models_and_the_benchmark_sees_it(lite):
    from web import create_app

    filled(lite)
    lite.register_version("other", dim=6)
    found = lite.study("m/1", "m/2")
    scopes = {"all": (None, None), "m": (["m"], ["b"]), "other model": (["other"], ["b"]), "other gallery": (["m"], [])}
    tokens = {
        name: lite.create_token(name.replace(" ", "-"), role="writer", models=models, galleries=galleries)[1]
        for name, (models, galleries) in scopes.items()
    }
    tokens["reader"] = lite.create_token("reader", role="reader")[1]
    client = create_app(lite).test_client()

    def ask(who, method, path, **more):
        headers = {"Authorization": f"Bearer {tokens[who]}"}
        return client.open(f"/api/v1{path}", method=method, headers=headers, **more)

    for who, sees in (("all", True), ("m", True), ("reader", True), ("other model", False), ("other gallery", False)):
        assert [s["id"] for s in ask(who, "GET", "/studies").json["studies"]] == ([found.id] if sees else [])
        for path in (f"/studies/{found.id}", f"/studies/{found.id}/items"):
            assert ask(who, "GET", path).status_code == (200 if sees else 403)
    for benchmark in ({"benchmark": "b"}, {}):
        asked = {"json": {"old": "m/1", "new": "m/2", **benchmark}}
        for who in ("reader", "other model", "other gallery"):  # the last knows of no benchmark unless it names one
            nowhere = who == "other gallery" and not benchmark
            assert ask(who, "POST", "/studies", **asked).status_code == (404 if nowhere else 403)
        assert b'"study"' in ask("m", "POST", "/studies", **asked).data.splitlines()[-1]
    assert len(lite.studies()) == 3
    table = pa.ipc.open_stream(ask("m", "GET", f"/studies/{found.id}/items").data).read_all()
    assert table.equals(lite.study_items(found.id))
