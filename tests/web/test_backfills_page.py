"""The pages of backfills: what goes on, one of them, and the forms that pause, resume and take back."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest

from registry import connect
from tests.web.conftest import csrf_of
from web import create_app, lines

N = 30


@pytest.fixture
def page(tmp_path):
    """A client of the pages, the registry, and a backfill of 30 items of which 10 are done."""
    with connect(tmp_path / "home") as reg:
        for width in (3, 2):
            reg.register_version("m", dim=width)
        reg.create_gallery("shelf", id_type="int")
        reg.append("shelf", version="m/1", ids=np.arange(N), vectors=np.ones((N, 3)))
        plan = reg.plan_backfill("shelf", into="m/2", encoder="shop:<b>encode".replace("<b>", ""), batch=10)
        reg.hold_backfill(plan.id, runner="<i>ann</i>@there")
        portion = reg.next_portion(plan.id, runner="<i>ann</i>@there")
        rows = np.ones((10, 2))
        reg.store_portion(plan.id, runner="<i>ann</i>@there", portion=portion, vectors=rows, pace=4.0)
        yield create_app(reg).test_client(), reg, plan.id


def sent(client, path, token):
    return client.post(path, data={"csrf_token": token})


def test_what_goes_on_is_listed_and_followed(page):
    client, _, id = page
    for path in ("/backfills", "/backfills?gallery=shelf", "/"):
        shown = client.get(path).text
        assert f'href="/backfills/{id}"' in shown
        assert '<progress max="30" value="10"' in shown
        assert "&lt;i&gt;ann&lt;/i&gt;@there" in shown
        assert "<i>ann" not in shown
    assert "js/live.js" in client.get("/backfills").text
    assert 'href="/backfills?gallery=shelf"' in client.get("/galleries/shelf").text
    assert "Nothing was ever re-embedded here" in _empty(page)


def _empty(page):
    client, reg, _ = page
    reg.create_gallery("bare")
    return client.get("/backfills?gallery=bare").text


def test_one_is_paused_resumed_and_taken_back(page):
    client, reg, id = page
    shown = client.get(f"/backfills/{id}").text
    assert "5.0 s" in shown  # 20 items at 4 a second
    assert "Take it back" not in shown  # somebody runs it
    assert sent(client, f"/backfills/{id}/pause", "none").status_code == 403
    assert reg.backfill(id).status == "running"
    token = csrf_of(client.get(f"/backfills/{id}"))
    answer = sent(client, f"/backfills/{id}/pause", token)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/backfills/{id}")
    assert "pausing" in client.get(f"/backfills/{id}").text
    assert sent(client, f"/backfills/{id}/rollback", token).status_code == 409
    reg.leave_backfill(id, runner="<i>ann</i>@there")
    shown = client.get(f"/backfills/{id}").text
    assert re.search(r"samespace</span> <span class=\"word\">backfill</span> <span class=\"word\">resume", shown)
    sent(client, f"/backfills/{id}/resume", token)
    assert reg.backfill(id).status == "planned"
    assert "10 vectors" in client.get(f"/backfills/{id}/rollback").text
    sent(client, f"/backfills/{id}/rollback", token)
    assert (reg.backfill(id).status, reg.backfill(id).written) == ("rolled back", 0)
    assert {s.version: s.rows for s in reg.gallery("shelf").segments} == {"m/1": N}
    assert f'href="/backfills/{id}"' in client.get("/changes").text
    assert "What is re-embedded" not in client.get("/").text


def test_what_is_not_there_is_said(page):
    client, _, _ = page
    assert client.get("/backfills/backfill-none").status_code == 404
    assert client.get("/backfills?gallery=none").status_code == 404


def test_a_measure_is_told_in_lines_so_that_no_proxy_takes_it_for_dead(page, monkeypatch):
    client, _, id = page
    answer = client.post(f"/api/v1/backfills/{id}/measure", json={"runner": "<i>ann</i>@there"})
    assert (answer.status_code, answer.mimetype) == (200, "application/x-ndjson")
    assert "planned without a benchmark" in json.loads(answer.text)["error"]["message"]
    monkeypatch.setattr(lines, "_LONGEST_SILENCE_S", 0.01)
    with client.application.app_context():
        *silent, last = lines.told(lambda _: time.sleep(0.1) or {"done": 1}, "something long")
    assert set(silent) == {b"{}\n"}
    assert json.loads(last) == {"done": 1}
