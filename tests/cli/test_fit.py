"""`samespace fit`: every method from a gallery of pairs, what is reported of it, and what happens when nothing is worth it."""

import json
import sys

import numpy as np
import pytest

from align.bridges.pairs import Split
from registry import connect
from registry.cli.fitted import advice, tracked
from registry.cli.methods import METHODS, OPTIONS

N = 900


def spaces(seed=0):
    """New (n, 12) and old (n, 8) vectors of the same items in 9 classes."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 9, N)
    z = rng.standard_normal((9, 12))[label] + 0.8 * rng.standard_normal((N, 12))
    return z.astype("f4"), (z[:, :8] + 0.5 * rng.standard_normal((N, 8))).astype("f4"), label


@pytest.fixture(scope="module")
def filled(samespace, tmp_path_factory):
    """A home whose benchmark holds vectors of three versions of 900 items; in `wrong` all but the held-out pairs are mixed up."""
    folder = tmp_path_factory.mktemp("fit")
    home = folder / "home"
    new, old, label = spaces()
    rng = np.random.default_rng(1)
    with connect(home) as reg:
        for d in (8, 12, 10):
            reg.register_version("m", dim=d, fingerprint={"d": d})
        reg.create_gallery("b", id_type="int", labels=["class"])
        reg.create_gallery("wrong", id_type="int")
        reg.create_gallery("small", id_type="int")
        third = new[:, ::-1][:, :10] + 0.3 * rng.standard_normal((N, 10)).astype("f4")
        for version, x in (("m/1", old), ("m/2", new), ("m/3", third)):
            reg.append("b", version=version, ids=np.arange(N), vectors=x, labels={"class": label})
            reg.append("small", version=version, ids=np.arange(40), vectors=x[:40])
        fitted_to = np.concatenate([at for at, _, _ in Split(0.1, seed=0).stream(new, old)])
        old[fitted_to] = old[rng.permutation(fitted_to)]
        reg.append("wrong", version="m/1", ids=np.arange(N), vectors=old)
        reg.append("wrong", version="m/2", ids=np.arange(N), vectors=new)
    return home


@pytest.fixture
def fit(samespace, filled):
    ends = ("--source", "m/2", "--target", "m/1")

    def run(method, *arguments, gallery="b", as_json=False, code=0, columns=140):
        given = ("--json",) if as_json else ()
        where = ends if method != "gpa" else ()
        command = ("--home", filled, *given, "fit", method, *where, "--gallery", gallery, *arguments)
        return samespace(*command, code=code, columns=columns)

    return run


def metrics_of(home, run_id):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{home.resolve() / 'mlflow.db'}").get_run(run_id).data


def test_a_fit_is_measured_registered_and_tracked(fit, filled):
    info = json.loads(fit("affine", "--benchmark-label", "class", as_json=True).stdout)
    assert (info["kind"], info["source"], info["target"]) == ("affine", "m/2", "m/1")
    report = info["report"]
    assert 60 < report["holdout"]["pairs"] < 130 and report["pairs"] + report["holdout"]["pairs"] == N
    assert report["confidence"] == "good" and len(report["calibration"]["x"]) <= 64
    data = metrics_of(filled, info["run_id"])
    assert data.metrics["holdout.recall.gain.low"] == pytest.approx(report["holdout"]["recall"]["gain"]["low"])
    assert data.metrics["holdout.cmc_at_1.bridged.value"] == pytest.approx(
        report["holdout"]["cmc@1"]["bridged"]["value"]
    )
    assert data.metrics["calibration.ks_after"] == pytest.approx(report["calibration"]["ks_after"])
    assert data.params["holdout"] == "0.1" and data.params["source"] == "m/2"


def test_the_table_says_what_is_found_beside_staying(fit):
    shown = fit("orthogonal", "--benchmark-label", "class", "--dry-run").stdout
    for row in ("own item first", "neighbours of a full re-embedding, recall@10", "CMC@1", "mAP", "by m/1 alone"):
        assert row in shown
    assert "would register orthogonal: m/2 -> m/1, scale" in shown
    narrow = fit("orthogonal", "--benchmark-label", "class", "--dry-run", columns=80).stdout
    assert max(map(len, narrow[: narrow.index("would")].splitlines()[:12])) <= 80


def test_a_dry_run_leaves_nothing_behind(fit, filled):
    with connect(filled) as reg:
        before = [info.id for info in reg.transforms()]
        report = json.loads(fit("lowrank", "--dry-run", "-o", "rank=3", as_json=True).stdout)
        assert report["method"] == "lowrank" and report["report"]["rank"] == 3
        assert [info.id for info in reg.transforms()] == before


def test_the_seed_picks_the_pairs_and_the_share_is_asked_for(fit):
    first, again, other = (
        json.loads(fit("affine", "--dry-run", "--holdout", "0.3", "--seed", seed, as_json=True).stdout)["report"]
        for seed in ("5", "5", "6")
    )
    assert first == again != other
    assert 220 < first["holdout"]["pairs"] < 320


def test_auto_shows_its_candidates_and_registers_the_best(fit):
    shown = fit("auto", "--dry-run").stdout
    assert "candidates on" in shown and all(name in shown for name in ("orthogonal", "affine", "lowrank"))
    assert shown.count(" *") == 1
    only = fit("auto", "--dry-run", "-o", "candidates=affine,lowrank").stdout
    assert "orthogonal" not in only


def test_auto_that_finds_nothing_worth_it_says_so_and_fails(fit, filled):
    with connect(filled) as reg:
        before = len(reg.transforms())
        done = fit("auto", gallery="wrong", code=1)
        assert len(done.stderr.strip().splitlines()) == 1
        assert (
            "none of orthogonal, affine, lowrank is worth it: recall@10 against the full re-embedding is" in done.stderr
        )
        assert "candidates on" in done.stdout and "registered" not in done.stdout
        assert len(reg.transforms()) == before
    report = json.loads(fit("auto", gallery="wrong", code=1, as_json=True).stdout)
    assert set(report["candidates"]) == {"orthogonal", "affine", "lowrank"}


def test_few_pairs_are_a_warning_and_nothing_measured_is_said(fit):
    done = fit("orthogonal", "--dry-run", gallery="small")
    assert "no pairs were held out, so what this map finds is not known" in done.stdout


def test_warnings_go_to_standard_error(fit):
    done = fit("orthogonal", "--dry-run", gallery="small")
    assert "Warning: 40 pairs are too few to hold any out" in done.stderr
    assert "Warning" not in done.stdout


QUICK = {
    "mlp": ("-o", "epochs=2", "-o", "hidden=8"),
    "lambda-orthogonal": ("-o", "epochs=2", "-o", "lam=3"),
    "slerp": (),
}


@pytest.mark.parametrize("method", QUICK)
def test_learned_methods_fit_from_a_gallery(fit, filled, method):
    report = json.loads(fit(method, *QUICK[method], "--dry-run", as_json=True).stdout)["report"]
    assert report["method"] == method and report["holdout"]["item"]["recall@10"] > 0.3


def test_fct_leads_forward(samespace, filled):
    command = ("--home", filled, "fit", "fct", "--source", "m/1", "--target", "m/2", "--gallery", "b", "--dry-run")
    shown = samespace(*command, "-o", "epochs=2", "-o", "hidden=8").stdout
    assert "by m/1 alone" in shown and "would register mlp: m/1 -> m/2" in shown


def test_slerp_is_registered_as_what_needs_the_old_query_too(fit, filled):
    info = json.loads(fit("slerp", "-o", "alpha=0.5", as_json=True).stdout)
    assert (info["kind"], info["source"], info["target"]) == ("slerp", "m/2", "m/1")
    with connect(filled) as reg:
        assert reg.transform(info["id"]).side_dim == 8


def test_a_search_across_slerp_is_told_the_old_query_as_well(fit, filled, samespace, tmp_path):
    fit("slerp", "-o", "alpha=0.6")
    new, old, _ = spaces()
    with connect(filled) as reg:
        reg.create_gallery("stored", id_type="int")
        reg.append("stored", version="m/1", ids=np.arange(N), vectors=old)
    np.save(tmp_path / "new.npy", new[:5])
    np.save(tmp_path / "old.npy", old[:5])
    search = ("--home", filled, "--json", "gallery", "search", "stored", "--version", "m/2", "--allow-unmeasured")
    search += ("--queries", tmp_path / "new.npy", "-k", "3")
    found = json.loads(samespace(*search, "--side", f"m/1={tmp_path / 'old.npy'}").stdout)
    assert found["path"]["m/1"]["kinds"] == ["slerp"]
    assert all(place in [hit["id"] for hit in hits] for place, hits in enumerate(found["hits"]))
    assert "--side takes KEY=VALUE" in samespace(*search, "--side", "m/1", code=1).stderr


def test_a_hub_is_registered_as_a_star(fit, filled, samespace):
    versions = [part for ref in ("m/1", "m/2", "m/3") for part in ("--version", ref)]
    infos = json.loads(fit("gpa", *versions, "--reference", "m/1", as_json=True).stdout)
    assert [(info["kind"], info["source"], info["target"]) for info in infos] == [
        ("orthogonal", "m/2", "m/1"), ("orthogonal", "m/3", "m/1"),
    ]  # fmt: skip
    assert all(info["report"]["method"] == "gpa" and info["report"]["holdout"]["item"]["mrr"] > 0.5 for info in infos)
    assert infos[0]["run_id"] != infos[1]["run_id"]
    with connect(filled) as reg:
        x = next(iter(reg.shared("b", versions=["m/3"])))[0][:4]
        hits = reg.search("small", x, version="m/3", k=1, allow_unmeasured=True)
        assert hits.ids.shape == (4, 1)
    shown = fit("gpa", *versions, "--dry-run").stdout
    assert shown.count("would register orthogonal") == 2 and "-> m/2" in shown, "the widest is the reference"


MISTAKES = [
    (("affine", "-o", "ridge=much"), "--option ridge takes a number, got 'much'"),
    (("affine", "-o", "rank=3"), "affine has no option 'rank': it takes ridge"),
    (("orthogonal", "-o", "ridge=1"), "orthogonal has no option 'ridge': it takes none"),
    (("lowrank", "-o", "rank=99"), "rank must be a whole number from 1 to 8"),
    (("auto", "-o", "candidates=fct"), "auto cannot choose 'fct'"),
    (("affine", "--benchmark-label", "colour"), "no label column 'colour'"),
    (("gpa", "--version", "m/1"), "a hub joins two versions or more, each once"),
    (("gpa", "--version", "m/1", "--version", "m/1"), "each once and all of one metric"),
    (("gpa", "--version", "m/1", "--version", "m/2", "--reference", "m/3"), "m/3 is none of the hub's versions"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES)
def test_every_mistake_is_one_line(fit, arguments, said):
    done = fit(*arguments, code=1)
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not done.stdout


def test_a_share_that_is_none_is_refused(fit):
    assert "--holdout" in fit("affine", "--holdout", "0.9", code=2).stderr


def test_help_says_when_to_use_which(samespace):
    shown = samespace("fit", "--help").stdout
    for method in METHODS:
        assert method in shown
        assert "Usage" in samespace("fit", method, "--help").stdout
    assert "GCPA" in samespace("fit", "gpa", "--help").stdout


def test_the_tables_of_methods_agree_with_aligns():
    from align.bridges.methods import OPTIONS as KNOWN

    assert set(METHODS) == set(OPTIONS) == set(KNOWN) - {"gpa"}
    for method, names in OPTIONS.items():
        assert set(names) == set(KNOWN[method]) - {"side"}


def interval(value, low, high):
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"holdout": {"recall": {"gain": interval(0.1, 0.05, 0.2)}}}, "across the map more is found of the neighbours"),
        ({"holdout": {"recall": {"gain": interval(-0.1, -0.2, -0.05)}}}, "m/1 alone finds more"),
        ({"holdout": {"recall": {"gain": interval(0.0, -0.2, 0.05)}}}, "these pairs do not tell"),
        ({"holdout": {"recall": {"gain": interval(0.1, 0.05, 0.2)}}, "confidence": "low"}, "low confidence"),
        (
            {"holdout": {"recall": {"gain": interval(0.1, 0.05, 0.2)}, "map": {"gain": interval(-0.1, -0.2, -0.05)}}},
            "m/1 alone finds more of mAP",
        ),
        ({}, "not known"),
    ],
)
def test_the_advice_follows_the_intervals(report, said):
    assert said in advice(report, old="m/1")


def test_what_is_tracked_has_names_that_mlflow_takes():
    assert tracked({"a": {"recall@10": 1, "flag": True, "b": {"c": 0.5}}, "x": [1]}) == {
        "a.recall_at_10": 1.0,
        "a.b.c": 0.5,
    }


def test_the_commands_are_light_until_they_run():
    import subprocess

    code = "import sys, registry.cli.fit; print([m for m in ('torch', 'mlflow', 'sqlalchemy', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
