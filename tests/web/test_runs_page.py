"""Runs: what MLflow keeps, what came of it, who may see it, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from registry import connect
from registry import runs as runs_module
from registry.settings import Settings
from registry.tracking import default_uri
from registry.transforms import Orthogonal
from tests.web.conftest import HOSTILE
from web import create_app
from web.pages.runs import results

EPOCHS = 5


def logged(client, experiment, name, *, status="FINISHED", **params):
    """A run with a loss that falls, and results."""
    run = client.create_run(experiment, run_name=name)
    metrics = [Metric("loss", 2.0 - 0.25 * i, 1000 + i, i) for i in range(1, EPOCHS + 1)]
    metrics += [Metric("new_old/cmc_at_1", 0.875, 1000, 0), Metric("new_old/map", 0.625, 1000, 0)]
    client.log_batch(run.info.run_id, metrics=metrics, params=[Param(k, v) for k, v in params.items()])
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return run.info.run_id


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A home with runs: of a version of `products`, of one of `secrets`, of a transform, a hostile one, a live one."""
    home = tmp_path_factory.mktemp("runs") / "home"
    with connect(home) as registry:
        client = MlflowClient(default_uri(home))
        experiment = client.create_experiment("shop", artifact_location=(home / "mlruns").as_uri())
        runs = {
            "old": logged(client, experiment, "old one", method="independent"),
            "secret": logged(client, experiment, "hidden one"),
            "fit": logged(client, experiment, "a bridge", method="orthogonal"),
            "hostile": logged(client, experiment, HOSTILE, note=HOSTILE),
            "live": logged(client, experiment, "going on", status="RUNNING"),
        }
        registry.register_version("products", dim=4, run_id=runs["old"])
        registry.register_version("products", dim=4, fingerprint={"weights": "other"})
        registry.register_version("secrets", dim=4, run_id=runs["secret"])
        turn = Orthogonal(weight=np.eye(4), bias=np.zeros(4))
        registry.add_transform(turn, source="products/2", target="products/1", run_id=runs["fit"])
        registry.create_gallery("bench", id_type="int", labels=["class"])
        rng, labels = np.random.default_rng(0), np.arange(60) % 3
        x = np.eye(3, 4)[labels] + 0.5 * rng.normal(size=(60, 4))
        for ref in ("products/1", "products/2"):
            registry.append("bench", version=ref, ids=range(60), vectors=x, labels={"class": labels})
        registry.evaluate("bench")
    return home, runs


@pytest.fixture
def pages(tracked):
    with connect(tracked[0]) as registry:
        yield create_app(registry).test_client()


def test_runs_are_listed_with_what_they_made(pages, tracked):
    page = pages.get("/runs").text
    for said in ("old one", "a bridge", "going on", "shop", "products/1", "orthogonal-", "independent", "running"):
        assert said in page
    assert page.index("going on") < page.index("old one")  # newest first


def test_runs_are_chosen_by_status_and_read_page_by_page(pages, tracked):
    page = pages.get("/runs?status=RUNNING").text
    assert "going on" in page
    assert "old one" not in page
    assert pages.get("/runs?status=LOST").status_code == 400
    assert pages.get("/runs?experiment=77").status_code == 404
    assert pages.get("/runs?after=nonsense").status_code == 400
    assert pages.get("/runs?sort=name").status_code == 400


def test_a_run_shows_curves_results_and_evidence(pages, tracked, home):
    page = pages.get(f"/runs/{tracked[1]['fit']}").text
    assert page.count('<figure class="chart"') == 1
    assert '<data value="1.75">' in page  # the loss of the first epoch
    assert "new queries on old vectors" in page
    assert "87.5" in page
    with connect(tracked[0]) as registry:
        (cell,) = (e for e in registry.evaluations("bench", metric="map") if e.query_path)
        assert f"{100 * cell.value:.1f}" in page
        assert f"{100 * cell.low:.1f} – {100 * cell.high:.1f}" in page


def test_a_live_run_is_followed_and_a_finished_one_is_not(pages, tracked):
    runs = tracked[1]
    assert "js/live.js" in pages.get(f"/runs/{runs['live']}").text
    assert "js/live.js" not in pages.get(f"/runs/{runs['old']}").text


def test_what_a_run_says_of_itself_is_text(pages, tracked):
    for path in ("/runs", f"/runs/{tracked[1]['hostile']}"):
        page = pages.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize("id", ["nothing", "a' OR '1'='1", "..%2f..", "0" * 32])
def test_an_unknown_run_is_told_and_where_the_store_is_is_not(pages, tracked, id):
    answer = pages.get(f"/runs/{id}")
    assert answer.status_code == 404
    assert str(tracked[0]) not in answer.text


@pytest.mark.parametrize("cursor", ["x", "é", "١٢", "W10=", "e30=", "eyJvZmZzZXQiOiAiYSJ9", "eyJvZmZzZXQiOiAxZTMwfQ=="])
def test_what_is_no_cursor_is_refused_and_no_fault_of_the_store(pages, tracked, cursor):
    answer = pages.get("/runs", query_string={"after": cursor})
    assert answer.status_code == 400
    assert str(tracked[0]) not in answer.text


def test_a_token_of_one_model_sees_the_runs_of_that_model(tracked):
    home, runs = tracked
    with connect(home) as registry:
        secret = registry.create_token("ann", role="reader", models=["products"], galleries=["bench"])[1]
        try:
            client = create_app(registry).test_client()
            client.post("/login", data={"token": secret, "csrf_token": token_of(client)})
            page = client.get("/runs").text
            assert "old one" in page
            assert "a bridge" in page
            for hidden in ("hidden one", "going on", runs["secret"]):
                assert hidden not in page
            assert client.get(f"/runs/{runs['old']}").status_code == 200
            for name in ("secret", "live", "hostile"):
                assert client.get(f"/runs/{runs[name]}").status_code == 403
        finally:
            forget_tokens(registry)


def token_of(client):
    page = client.get("/login").text
    return page.split('name="csrf_token" value="')[1].split('"')[0]


def forget_tokens(registry):
    """Back to a registry without tokens, which other tests of this file use."""
    from sqlalchemy import delete

    from registry.tables import TokenRow

    with registry._home.database.writing() as session:
        session.execute(delete(TokenRow))


def test_without_a_store_nothing_is_made_and_the_command_is_named(empty, tmp_path):
    page = empty.get("/runs")
    assert page.status_code == 200
    assert "samespace train" in page.text
    assert not (tmp_path / "home" / "mlflow.db").exists()


def test_a_version_whose_run_is_kept_elsewhere_still_has_a_page(tmp_path):
    with connect(tmp_path / "home") as registry:
        registry.register_version("m", dim=2, run_id="8f1c2d3e4a5b")
        page = create_app(registry).test_client().get("/runs/8f1c2d3e4a5b")
    assert page.status_code == 200
    assert "m/1" in page.text
    assert "SAMESPACE_TRACKING_URI" in page.text


def test_links_lead_to_mlflows_own_pages_where_these_are_known(tracked):
    home, runs = tracked
    with connect(home) as registry:
        settings = Settings(mlflow_url="https://mlflow.example/")
        page = create_app(registry, settings=settings).test_client().get(f"/runs/{runs['old']}").text
        assert f"https://mlflow.example/#/experiments/1/runs/{runs['old']}" in page
        spoilt = Settings(mlflow_url="javascript:alert(1)")
        page = create_app(registry, settings=spoilt).test_client().get(f"/runs/{runs['old']}").text
        assert "javascript:" not in page


def test_a_store_that_does_not_answer_is_told_soon_and_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setattr(runs_module, "_OPENING_S", 0.5)  # MLflow itself would try for minutes
    with connect(tmp_path / "home") as registry:
        settings = Settings(tracking_uri="postgresql://ann:hunter2@127.0.0.1:1/runs")
        page = create_app(registry, settings=settings).test_client().get("/runs")
    assert page.status_code == 503
    assert "hunter2" not in page.text


def test_a_server_does_not_load_mlflow_before_runs_are_asked_for(tmp_path):
    code = (
        "import sys; from web import create_app; client = create_app(sys.argv[1]).test_client();"
        "assert client.get('/').status_code == 200; assert client.get('/runs').status_code == 200; print('mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "home")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_results_are_those_of_the_three_cells():
    found = results({"old_old/map": 0.5, "new_new/map": 0.7, "gain/map": 0.2, "loss": 1.0, "new_new/other": 1.0})
    assert found == [("old queries on old vectors", {"map": 0.5}), ("new queries on new vectors", {"map": 0.7})]
