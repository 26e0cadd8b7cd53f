"""`samespace demo`: the story that the README tells, on real data, run once."""

import json
import sqlite3

import pytest

from registry import connect


@pytest.fixture(scope="module")
def demo(samespace, tmp_path_factory):
    home = tmp_path_factory.mktemp("demo") / "home"
    return home, samespace("--home", home, "demo")


def test_the_naive_swap_fails_and_the_trained_model_does_not(demo):
    with connect(demo[0]) as reg:
        found = {(e.query, e.gallery, e.role, e.kinds, e.metric): e for e in reg.evaluations("digits-bench")}
        comparison = reg.compare("digits/1", "digits/3")
    for metric in ("cmc@1", "map"):
        assert found["digits/2", "digits/1", "naive", (), metric].verdict == "incompatible"
        assert found["digits/3", "digits/1", "path", ("prefix",), metric].verdict == "compatible"
    assert comparison.advice == "upgrade without backfill"


def test_every_way_is_measured_and_shown(demo):
    shown = demo[1].stdout
    for row in ("today", "naive swap", "orthogonal bridge", "affine bridge", "relative anchors", "OCA, its prefix"):
        assert row in shown
    assert shown.count("re-embed all") == 2
    for advice in (
        "digits/2 instead of digits/1, on digits-bench: ",
        "digits/3 instead of digits/1, on digits-bench: ",
    ):
        assert advice in shown
    assert "CMC@1" in shown and "CMC@5" in shown and "mAP" in shown and "±" in shown
    assert "Queries of digits/3 in the gallery that digits/1 stored, untouched" in shown


def test_both_upgrades_are_studied(demo):
    with connect(demo[0]) as reg:
        for new, kinds in (("digits/2", ("relative", "relative")), ("digits/3", ("prefix",))):
            found = reg.newest_study("digits/1", new, benchmark="digits-bench")
            assert (found.kinds, found.items) == (kinds, reg.gallery("digits-bench").items)
            filled = {f.order: f for f in found.filling if f.metric == "map"}
            first, random = filled["uncertainty"], filled["random"]
            assert first.raw_area > random.raw_area  # digits that the old model never saw are re-embedded first
            assert random.area > random.raw_area + 0.02  # and calibrated scores need no order to merge well


def test_versions_and_transforms_know_their_runs(demo):
    home = demo[0]
    with connect(home) as reg:
        runs = {v.run_id for v in reg.versions("digits")} | {t.run_id for t in reg.transforms()}
    with sqlite3.connect(home / "mlflow.db") as mlflow:
        known = {row[0] for row in mlflow.execute("SELECT run_uuid FROM runs WHERE status = 'FINISHED'")}
    assert runs <= known and len(runs) == 7, "three trainings, two bridges, two ways into the relative space"


def test_the_old_gallery_is_untouched(demo):
    with connect(demo[0]) as reg:
        gallery = reg.gallery("digits")
    assert [(s.version, s.rows) for s in gallery.segments] == [("digits/1", gallery.items)]


def test_every_digit_can_be_looked_at(demo):
    with connect(demo[0]) as reg:
        for name in ("digits", "digits-bench"):
            gallery = reg.gallery(name)
            assert (gallery.preview, gallery.previews) == ("picture", gallery.items)


def test_a_registry_in_use_is_not_written_over(demo, samespace):
    assert "is a registry in use" in samespace("--home", demo[0], "demo", code=1).stderr


def test_compare_gates_on_the_advice(demo, samespace, tmp_path):
    samespace("--home", demo[0], "compare", "digits/1", "digits/3", "--gate")
    summary = tmp_path / "summary.md"
    summary.write_text("# Job\n")
    samespace("--home", demo[0], "compare", "digits/1", "digits/3", "--gate", "--summary", summary)
    written = summary.read_text()
    assert written.startswith("# Job\n## digits/3 instead of digits/1: upgrade without backfill\n")
    assert "| digits/3 on digits/1 |" in written and "✓ compatible |" in written
    refused = samespace(
        "--home", demo[0], "compare", "digits/1", "digits/3", "--summary", tmp_path / "no" / "x", code=1
    )
    assert "cannot write the summary" in refused.stderr
    report = json.loads(samespace("--home", demo[0], "--json", "compare", "digits/1", "digits/2").stdout)
    assert report["advice"] in ("backfill", "bridge with a transform")
