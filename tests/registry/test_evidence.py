"""Evidence: the matrix against plain loops, verdicts and advice on spaces built to deserve them, honest intervals."""

from __future__ import annotations

import numpy as np
import pytest

from registry.bootstrap import Interval, Resamples, verdict
from registry.errors import InvalidInput, NotFound
from registry.transforms import Affine, Prefix

METRICS = ("cmc@1", "cmc@5", "map", "map@r", "mrr")


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def spread(n, classes, d, noise, seed=0):
    """Labels (n,) and points (n, d) around one centre for each class; more noise, worse retrieval."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = np.random.default_rng(99).standard_normal((classes, d))
    return labels, (centres[labels] + noise * rng.standard_normal((n, d))).astype(np.float32)


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0].astype(np.float32)


def linear(weight):
    return Affine(weight=weight, bias=np.zeros(weight.shape[1]))


def naive_metrics(queries, gallery, labels, metric="cosine"):
    """One query at a time, its own row left out, in double precision: metric -> per-query values."""
    q, g = np.asarray(queries, np.float64), np.asarray(gallery, np.float64)
    if metric == "cosine":
        q, g = unit(q), unit(g)
    found = {name: [] for name in METRICS}
    for i, row in enumerate(q):
        scores = -np.sum((g - row) ** 2, axis=1) if metric == "l2" else g @ row
        others = [j for j in np.argsort(-scores, kind="stable") if j != i]
        ranked = np.array([labels[j] == labels[i] for j in others])
        hits = np.flatnonzero(ranked)
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        found["cmc@1"].append(float(hits[0] < 1))
        found["cmc@5"].append(float(hits[0] < 5))
        found["map"].append(precision[hits].mean())
        found["map@r"].append((precision * ranked)[: len(hits)].sum() / len(hits))
        found["mrr"].append(1 / (hits[0] + 1))
    return {name: np.array(values) for name, values in found.items()}


def fill(reg, *versions, labels, gallery="b"):
    """A benchmark that holds each version's vectors; registers `m/1`, `m/2`, … of their widths."""
    for x in versions:
        reg.register_version("m", dim=x.shape[1])
    reg.create_gallery(gallery, id_type="int", labels=["class"])
    for i, x in enumerate(versions):
        reg.append(gallery, version=f"m/{i + 1}", ids=np.arange(len(x)), vectors=x, labels={"class": labels})


def role(matrix, query, gallery, name):
    return [e for e in matrix.evaluations if (e.query, e.gallery, e.role) == (query, gallery, name)]


def test_the_matrix_equals_plain_loops(reg):
    labels, x = spread(60, 6, 8, 0.8)
    y = (x @ rotation(8) + 0.3 * np.random.default_rng(1).standard_normal((60, 8))).astype(np.float32)
    fill(reg, x, y, labels=labels)
    forwards = linear(rotation(8).T)
    info = reg.add_transform(forwards, source="m/2", target="m/1")
    returned = reg.evaluate("b")
    mapped = unit(unit(y) @ rotation(8).T)
    expected = {
        ("m/1", "m/1", "self"): naive_metrics(x, x, labels),
        ("m/2", "m/2", "self"): naive_metrics(y, y, labels),
        ("m/1", "m/2", "naive"): naive_metrics(x, y, labels),
        ("m/2", "m/1", "naive"): naive_metrics(y, x, labels),
        ("m/2", "m/1", "path"): naive_metrics(mapped, x, labels),
        ("m/1", "m/2", "path"): naive_metrics(x, mapped, labels),  # the stored side goes through the same map
    }
    for metric in METRICS:
        matrix = reg.matrix("b", metric=metric)
        assert matrix.versions == ("m/1", "m/2")
        cells = {(e.query, e.gallery, e.role): e for e in matrix.evaluations}
        assert set(cells) == set(expected)
        for key, cell in cells.items():
            values, own = expected[key][metric], expected[key[1], key[1], "self"][metric]
            assert cell.value == pytest.approx(values.mean(), abs=1e-5)
            assert cell.gain == pytest.approx(values.mean() - own.mean(), abs=1e-5)
            assert cell.low <= cell.value <= cell.high
            assert cell.gain_low <= cell.gain <= cell.gain_high
            assert (cell.queries, cell.items, cell.benchmark, cell.metric) == (60, 60, "b", metric)
    assert role(returned, "m/2", "m/1", "path")[0].query_path == (info.id,)
    assert role(returned, "m/1", "m/2", "path")[0].gallery_path == (info.id,)
    assert returned.metric == "map"


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_each_metric_is_measured_as_it_compares(lite, metric):
    labels, x = spread(40, 5, 6, 0.9)
    lite.register_version("m", dim=6, metric=metric)
    lite.create_gallery("b", id_type="int", labels=["class"])
    x = x * np.linspace(0.2, 5, 40, dtype=np.float32)[:, None]  # lengths matter to dot and l2 only
    lite.append("b", version="m/1", ids=np.arange(40), vectors=x, labels={"class": labels})
    cell = lite.evaluate("b").cell("m/1", "m/1")
    assert cell.value == pytest.approx(naive_metrics(x, x, labels, metric)["map"].mean(), abs=1e-5)


def test_a_cell_has_the_roles_that_it_deserves(lite):
    labels, x = spread(30, 5, 6, 0.5)
    fill(lite, x, x, labels=labels)
    matrix = lite.evaluate("b")
    assert [(e.query, e.gallery, e.role, e.verdict) for e in matrix.evaluations if e.query == e.gallery] == [
        ("m/1", "m/1", "self", None),
        ("m/2", "m/2", "self", None),
    ]
    assert matrix.cell("m/2", "m/1").role == "naive"
    worse = linear(np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32))
    lite.add_transform(worse, source="m/2", target="m/1")
    matrix = lite.evaluate("b")
    naive, path = role(matrix, "m/2", "m/1", "naive")[0], role(matrix, "m/2", "m/1", "path")[0]
    assert naive.value > path.value  # here the spaces happen to agree …
    assert matrix.cell("m/2", "m/1") == path  # … but the control is never an answer where a path is
    assert matrix.cell("m/3", "m/1") is None


def test_naive_says_what_the_mistake_would_cost(lite):
    labels, x = spread(60, 6, 16, 0.3)
    fill(lite, x, (x @ rotation(16)).astype(np.float32), labels=labels)
    matrix = lite.evaluate("b")
    assert matrix.cell("m/2", "m/2").value > 0.9
    naive = matrix.cell("m/2", "m/1")
    assert (naive.role, naive.verdict) == ("naive", "incompatible")
    assert naive.value < 0.5


def prefix_case(lite, *, old_noise, new_noise, seed=1, n=120):
    """m/1 wrote the gallery; the first dimensions of m/2 live in its space."""
    labels, old = spread(n, 8, 8, old_noise)
    _, new = spread(n, 8, 8, new_noise, seed=seed)
    fill(lite, old, np.hstack([new, 0.1 * new]), labels=labels)
    lite.add_transform(Prefix(from_dim=16, to_dim=8), source="m/2", target="m/1")
    lite.evaluate("b")
    return lite.compare("m/1", "m/2", benchmark="b")


def test_a_better_version_in_the_old_space_needs_no_backfill(lite):
    found = prefix_case(lite, old_noise=1.2, new_noise=0.3)
    assert found.verdicts == dict.fromkeys(METRICS, "compatible")
    assert found.advice == "upgrade without backfill"
    assert "prefix" in found.reason
    assert (found.old, found.new, found.benchmark) == ("m/1", "m/2", "b")


def test_a_map_that_passes_is_a_bridge(lite):
    labels, old = spread(120, 8, 8, 1.2)
    _, new = spread(120, 8, 8, 0.3, seed=1)
    fill(lite, old, (new @ rotation(8)).astype(np.float32), labels=labels)
    lite.add_transform(linear(rotation(8).T), source="m/2", target="m/1")
    lite.evaluate("b")
    found = lite.compare("m/1", "m/2")  # the one benchmark that measured them need not be named
    assert (found.advice, found.verdicts["map"]) == ("bridge with a transform", "compatible")
    assert "affine" in found.reason


def test_a_better_version_without_a_good_map_asks_for_a_backfill(lite):
    labels, old = spread(120, 8, 8, 1.2)
    _, new = spread(120, 8, 8, 0.3, seed=1)
    fill(lite, old, new, labels=labels)
    lite.add_transform(linear(rotation(8, seed=5)), source="m/2", target="m/1")
    lite.evaluate("b")
    found = lite.compare("m/1", "m/2")
    assert (found.advice, found.verdicts["map"], found.verdicts["cmc@1"]) == (
        "backfill",
        "incompatible",
        "incompatible",
    )


def test_without_any_path_the_advice_rests_on_the_versions_alone(lite):
    labels, old = spread(120, 8, 8, 1.2)
    fill(lite, old, spread(120, 8, 8, 0.3, seed=1)[1], labels=labels)
    lite.evaluate("b")
    found = lite.compare("m/1", "m/2")
    assert (found.advice, found.verdicts) == ("backfill", {})


def test_a_version_that_is_no_better_stays_out(lite):
    found = prefix_case(lite, old_noise=0.6, new_noise=1.5)
    assert (found.advice, found.verdicts["map"]) == ("stay", "incompatible")


def test_a_version_that_is_as_good_is_inconclusive(lite):
    found = prefix_case(lite, old_noise=0.8, new_noise=0.8, seed=0)  # the same vectors: the gain is exactly nothing
    assert set(found.verdicts.values()) == {"inconclusive"}
    assert found.advice == "stay"


def test_an_unrelated_measurement_does_not_turn_the_advice(lite):
    labels, clear = spread(200, 20, 8, 0.1)
    noise = np.where(np.arange(200) < 150, 1.2, 0.1)[:, None]  # the last fifty items are easy for the old version
    old = clear + noise * np.random.default_rng(1).standard_normal((200, 8))
    new = clear + 0.5 * np.random.default_rng(2).standard_normal((200, 8))
    fill(lite, old.astype(np.float32), new.astype(np.float32), labels=labels)
    lite.register_version("m", dim=8)
    lite.append("b", version="m/3", ids=np.arange(150, 200), vectors=new[150:].astype(np.float32))
    lite.evaluate("b", versions=["m/1", "m/2"])
    before = lite.compare("m/1", "m/2")
    lite.evaluate("b", versions=["m/1", "m/3"])
    after = lite.compare("m/1", "m/2")
    assert before.advice == "backfill"
    assert after == before
    assert {e.items for e in after.evaluations} == {200}
    assert len({e.measurement for e in after.evaluations}) == 1


def test_verdicts_and_advice_speak_of_one_path(lite):
    labels, clear = spread(400, 40, 8, 0.01, seed=3)
    rng = np.random.default_rng(20)
    old, new = (clear + noise * rng.standard_normal(clear.shape) for noise in (1.0, 0.8))
    fill(lite, old.astype(np.float32), new.astype(np.float32), labels=labels)
    for _ in range(6):
        weight = np.eye(8) + rng.uniform(0, 0.35) * rng.standard_normal((8, 8))
        lite.add_transform(
            Affine(weight=weight, bias=rng.standard_normal(8) * rng.uniform(0, 0.3)), source="m/2", target="m/1"
        )
    lite.evaluate("b")
    found = lite.compare("m/1", "m/2")
    ways = {}
    for e in found.evaluations:
        if (e.query, e.gallery, e.role) == ("m/2", "m/1", "path"):
            ways.setdefault(e.query_path, {})[e.metric] = e.verdict
    assert len(ways) == 6
    assert dict(found.verdicts) in ways.values()
    passes = all(found.verdicts[m] == "compatible" for m in ("cmc@1", "map"))
    assert passes == (found.advice == "bridge with a transform")


def test_a_comparison_is_of_the_label_that_was_measured(lite):
    labels, x = spread(60, 6, 8, 0.5)
    for _ in range(2):
        lite.register_version("m", dim=8)
    lite.create_gallery("b", id_type="int", labels=["fine", "coarse", "other"])
    columns = {"fine": labels, "coarse": labels // 2, "other": labels // 3}
    lite.append("b", version="m/1", ids=np.arange(60), vectors=x, labels=columns)
    lite.append("b", version="m/2", ids=np.arange(60), vectors=x)
    lite.add_transform(linear(np.eye(8, dtype=np.float32)), source="m/2", target="m/1")
    lite.evaluate("b", label="coarse")
    assert {e.label for e in lite.compare("m/1", "m/2").evaluations} == {"coarse"}
    lite.evaluate("b", label="other")
    with pytest.raises(NotFound, match="labels coarse, other: name one"):
        lite.compare("m/1", "m/2")
    assert {e.label for e in lite.compare("m/1", "m/2", label="other").evaluations} == {"other"}
    lite.evaluate("b")
    assert {e.label for e in lite.compare("m/1", "m/2").evaluations} == {"fine"}, "the first column is the default"


def test_every_single_map_is_measured_however_many_there_are(lite):
    labels, x = spread(60, 6, 4, 0.5)
    fill(lite, x, x, labels=labels)
    rng = np.random.default_rng(0)
    for _ in range(12):
        lite.add_transform(linear(rng.standard_normal((4, 4)).astype(np.float32)), source="m/2", target="m/1")
    lite.evaluate("b")
    good = lite.add_transform(linear(np.eye(4, dtype=np.float32)), source="m/2", target="m/1")
    assert lite.search("b", x[:1], version="m/2").path["m/1"].query != (good.id,)
    lite.evaluate("b")
    assert lite.search("b", x[:1], version="m/2").path["m/1"].query == (good.id,)


def test_an_emptied_segment_stops_no_measurement(lite):
    labels, x = spread(40, 5, 6, 0.5)
    fill(lite, x, x, labels=labels)
    lite.register_version("m", dim=6)
    lite.append("b", version="m/3", ids=[1000], vectors=x[:1], labels={"class": [0]})
    with pytest.raises(InvalidInput, match="name fewer versions \\(m/3 has embedded the fewest items, 1\\)"):
        lite.evaluate("b")
    lite.delete("b", [1000])
    assert lite.evaluate("b").versions == ("m/1", "m/2")


@pytest.mark.parametrize("versions", ["m/1", [], ()])
def test_versions_are_a_list(lite, versions):
    labels, x = spread(20, 5, 6, 0.5)
    fill(lite, x, labels=labels)
    with pytest.raises(InvalidInput, match="versions must be a list of one or more"):
        lite.evaluate("b", versions=versions)


def test_what_is_not_measured_is_not_asked_for(lite):
    labels, x = spread(20, 5, 6, 0.5)
    fill(lite, x, labels=labels)
    lite.evaluate("b")
    with pytest.raises(InvalidInput, match="metric 'recall' is not measured: use one of cmc@1, cmc@5"):
        lite.matrix("b", metric="recall")
    with pytest.raises(NotFound, match="no label column 'colour'"):
        lite.evaluations("b", label="colour")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.2, "compatible"),
        (-0.2, -0.01, "incompatible"),
        (-0.1, 0.1, "inconclusive"),
        (0.0, 0.1, "inconclusive"),
        (-0.1, 0.0, "inconclusive"),
        (0.0, 0.0, "inconclusive"),
    ],
)
def test_a_verdict_is_the_sign_that_the_interval_allows(low, high, expected):
    assert verdict(Interval((low + high) / 2, low, high)) == expected


def test_compare_needs_evidence_and_two_versions(lite):
    labels, x = spread(30, 5, 6, 0.5)
    fill(lite, x, x, labels=labels)
    with pytest.raises(NotFound, match="samespace evaluate BENCHMARK --version m/1 --version m/2"):
        lite.compare("m/1", "m/2")
    with pytest.raises(InvalidInput, match="m/1 twice"):
        lite.compare("m/1", "m/1")
    lite.set_alias("m", "live", 1)
    with pytest.raises(InvalidInput, match="twice"):
        lite.compare("m@live", "m/1")
    lite.evaluate("b")
    lite.create_gallery("c", id_type="int", labels=["class"])
    for v in ("m/1", "m/2"):
        lite.append("c", version=v, ids=np.arange(30), vectors=x, labels={"class": labels})
    lite.evaluate("c")
    with pytest.raises(NotFound, match="2 benchmarks: name one of b, c"):
        lite.compare("m@live", "m/2")
    assert lite.compare("m@live", "m/2", benchmark="c").old == "m/1"


def test_evaluation_is_the_same_for_a_seed_and_the_newest_counts(lite):
    labels, x = spread(50, 5, 6, 0.9)
    fill(lite, x, x[::-1].copy(), labels=labels)

    def numbers(matrix):
        return [(e.value, e.low, e.high, e.gain_low, e.gain_high) for e in matrix.evaluations]

    first = lite.evaluate("b", seed=3)
    again = lite.evaluate("b", seed=3)
    other = lite.evaluate("b", seed=4)
    assert numbers(first) == numbers(again)
    assert [n[0] for n in numbers(first)] == [n[0] for n in numbers(other)]
    assert numbers(first) != numbers(other)
    assert numbers(lite.matrix("b")) == numbers(other)
    assert len(lite.evaluations("b", metric="map")) == len(first.evaluations)


def test_only_items_that_all_versions_embedded_count(lite):
    labels, x = spread(40, 4, 6, 0.7)
    fill(lite, x, labels=labels)
    lite.register_version("m", dim=6)
    some = np.arange(5, 33)
    lite.append("b", version="m/2", ids=some[::-1], vectors=x[some][::-1])
    cell = lite.evaluate("b").cell("m/2", "m/1")
    assert (cell.items, cell.queries) == (28, 28)
    assert cell.value == pytest.approx(naive_metrics(x[some], x[some], labels[some])["map"].mean(), abs=1e-5)
    assert lite.evaluate("b", versions=["m/1"]).cell("m/1", "m/1").items == 40


def test_queries_without_a_relevant_item_are_left_out(lite):
    labels, x = spread(20, 4, 6, 0.7)
    labels = labels.copy()
    labels[0] = 77  # alone in its class
    fill(lite, x, labels=labels)
    cell = lite.evaluate("b").cell("m/1", "m/1")
    assert (cell.queries, cell.items) == (19, 20)


def test_a_benchmark_that_cannot_be_measured_says_why(lite, rows):
    lite.register_version("m", dim=4)
    lite.register_version("m", dim=4)
    lite.create_gallery("plain")
    with pytest.raises(InvalidInput, match="plain has no labels"):
        lite.evaluate("plain")
    lite.create_gallery("b", labels=["class"])
    with pytest.raises(NotFound, match="b is empty"):
        lite.evaluate("b")
    lite.append("b", version="m/1", ids=["a"], vectors=rows(1, 4), labels={"class": ["x"]})
    with pytest.raises(InvalidInput, match="needs two or more"):
        lite.evaluate("b")
    lite.append("b", version="m/1", ids=["b"], vectors=rows(1, 4), labels={"class": ["y"]})
    with pytest.raises(InvalidInput, match="no query has a relevant item"):
        lite.evaluate("b")
    with pytest.raises(NotFound, match="no label column 'colour'"):
        lite.evaluate("b", label="colour")
    with pytest.raises(NotFound, match="m/2 has not embedded"):
        lite.evaluate("b", versions=["m/1", "m/2"])
    with pytest.raises(NotFound, match="no version m/3"):
        lite.evaluate("b", versions=["m/3"])
    assert lite.evaluations() == []


def test_labels_may_be_strings_or_large_numbers_and_one_of_several_columns(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("b", labels=["one", "two"])
    labels = {"one": [2**60, 2**60 + 1, 2**60, 2**60 + 1], "two": ["x", "x", "ü", "ü"]}
    lite.append("b", version="m/1", ids=list("abcd"), vectors=rows(4, 4), labels=labels)
    x = rows(4, 4)
    for name, codes in (("one", [0, 1, 0, 1]), ("two", [0, 0, 1, 1])):
        got = lite.evaluate("b", label=name).cell("m/1", "m/1")
        assert got.value == pytest.approx(naive_metrics(x, x, codes)["map"].mean(), abs=1e-6)


def test_cells_of_different_labels_do_not_mix(lite):
    labels, x = spread(40, 4, 6, 0.5)
    for _ in range(2):
        lite.register_version("m", dim=6)
    lite.create_gallery("b", id_type="int", labels=["one", "two"])
    for v in ("m/1", "m/2"):
        columns = {"one": labels, "two": np.arange(40) // 20}
        lite.append("b", version=v, ids=np.arange(40), vectors=x, labels=columns)
    lite.evaluate("b", label="one")
    lite.evaluate("b", label="two", versions=["m/1"])
    matrix = lite.matrix("b")
    assert matrix.cell("m/2", "m/2").value == matrix.cell("m/1", "m/1").value  # the same vectors, judged alike


def test_an_item_that_a_cut_turns_to_zeros_does_not_stop_the_measurement(lite):
    labels, x = spread(20, 4, 6, 0.7)
    wide = np.hstack([x, x])
    wide[3, :6] = 0  # a fine vector, until somebody takes its first half
    fill(lite, x, wide, labels=labels)
    assert lite.evaluate("b").cell("m/1", "m/1").value > 0


@pytest.mark.parametrize("seed", [-1, 1.5, 2**63, "a"])
def test_a_bad_seed_is_refused_before_anything_is_measured(lite, seed):
    labels, x = spread(20, 4, 6, 0.7)
    fill(lite, x, labels=labels)
    with pytest.raises(InvalidInput):
        lite.evaluate("b", seed=seed)


def test_progress_counts_every_cell(lite):
    labels, x = spread(20, 4, 6, 0.7)
    fill(lite, x, x, labels=labels)
    seen = []
    lite.evaluate("b", progress=lambda done, of: seen.append((done, of)))
    assert seen == [(i, 4) for i in (1, 2, 3, 4)]


# Intervals


def test_resamples_are_paired_and_the_same_for_a_seed():
    x = np.random.default_rng(0).random(80)
    a, b = Resamples(80, seed=5), Resamples(80, seed=5)
    np.testing.assert_array_equal(a.means(x), b.means(x))
    np.testing.assert_allclose(a.means(x + 0.25) - a.means(x), 0.25, atol=1e-5)  # paired: the difference is certain
    np.testing.assert_allclose(a.means(np.stack([x, 2 * x], axis=1))[:, 1], 2 * a.means(x), atol=1e-5)
    assert not np.array_equal(a.means(x), Resamples(80, seed=6).means(x))


def test_resampled_means_have_the_spread_of_the_mean():
    x = np.random.default_rng(1).random(400)
    means = Resamples(400, draws=4000).means(x)
    assert means.mean() == pytest.approx(x.mean(), abs=0.005)
    assert means.std() == pytest.approx(x.std() / 20, rel=0.1)


def test_resamples_do_not_depend_on_the_size_of_chunks(monkeypatch):
    from registry import bootstrap

    x = np.random.default_rng(2).random(50)
    whole = Resamples(50, draws=200).means(x)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 50 * 8 * 7)
    np.testing.assert_allclose(Resamples(50, draws=200).means(x), whole, atol=1e-6)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    truth, covered, covered_gain = 0.6, 0, 0
    for trial in range(300):
        old = (rng.random(200) < truth).astype(float)
        new = np.where(rng.random(200) < 0.7, old, rng.random(200) < truth + 0.2)  # paired with old, better by 0.06
        draws = Resamples(200, draws=500, seed=trial)
        one = draws.interval(old.mean(), draws.means(old))
        gain = draws.interval(new.mean() - old.mean(), draws.means(new) - draws.means(old))
        covered += one.low <= truth <= one.high
        covered_gain += gain.low <= 0.06 <= gain.high
    assert 0.90 <= covered / 300 <= 0.99
    assert 0.90 <= covered_gain / 300 <= 0.99


def test_one_query_gives_an_interval_of_no_width():
    draws = Resamples(1)
    assert draws.interval(0.5, draws.means(np.array([0.5]))) == Interval(0.5, 0.5, 0.5)
