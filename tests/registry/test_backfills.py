"""Backfills: planned, run, paused, gone on with and taken back; embedded on both databases, and through a server."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.client import Client
from registry.errors import (
    AlreadyExists,
    BadVector,
    DimensionMismatch,
    Incompatible,
    InvalidInput,
    NotFound,
    Unavailable,
)

N, OLD, NEW = 120, 6, 4


def vectors(ids, width=NEW):
    """What the encoder gives of ids: the same of the same."""
    return np.stack([np.random.default_rng([int(i[1:]), width]).normal(size=width) for i in ids]).astype(np.float32)


@pytest.fixture
def shelf(reg):
    """`reg` with a gallery of N items that m/1 embedded, and a version m/2 that did not yet."""
    return filled(reg)


@pytest.fixture
def alone(lite):
    """The same in one home alone, for what is not the storage's part."""
    return filled(lite)


def filled(reg):
    reg.register_version("m", dim=OLD)
    reg.register_version("m", dim=NEW)
    reg.create_gallery("shelf", labels=["class"])
    ids = names(N)
    reg.append("shelf", version="m/1", ids=ids, vectors=vectors(ids, OLD), labels={"class": [i % 4 for i in range(N)]})
    return reg


def names(n, start=0):
    return [f"i{number}" for number in range(start, start + n)]


def held(reg, gallery="shelf"):
    return {s.version: s.rows for s in reg.gallery(gallery).segments}


def planned(reg, **more):
    return reg.plan_backfill("shelf", into="m/2", **{"batch": 50, **more})


def assert_embedded(reg, ids):
    found = reg.fetch("shelf", ids=ids, into="m/2")
    np.testing.assert_array_equal(found.vectors, vectors(ids))


def test_a_plan_says_what_is_to_be_done_and_does_none_of_it(shelf):
    found = planned(shelf, rate=20, order="centroid-distance", encoder="http://encoder:9000/encode")
    assert (found.gallery, found.version, found.old, found.status) == ("shelf", "m/2", "m/1", "planned")
    assert (found.total, found.done, found.written, found.share) == (N, 0, 0, 0)
    assert found.seconds_left == N / 20
    assert "nobody measured" in found.advice
    assert "samespace evaluate BENCHMARK --version m/1 --version m/2" in found.advice
    assert held(shelf) == {"m/1": N}
    assert shelf.backfill(found.id) == found
    assert shelf.backfills() == shelf.backfills("shelf") == [found]


def test_a_dry_run_keeps_nothing(alone):
    assert planned(alone, dry_run=True).total == N
    assert alone.backfills() == []


def test_all_items_are_embedded_in_the_order_of_the_plan_and_each_once(shelf):
    asked, told = [], []

    def encode(ids):
        asked.extend(ids)
        return vectors(ids)

    plan = planned(shelf, seed=3)
    done = shelf.run_backfill(plan.id, encode=encode, progress=lambda *at: told.append(at))
    assert (done.status, done.done, done.written, done.runner) == ("finished", N, N, None)
    assert sorted(asked) == sorted(names(N))
    assert asked != names(N)
    assert told[0] == (0, N)
    assert told[-1] == (N, N)
    assert done.pace > 0
    assert_embedded(shelf, names(N))
    hits = shelf.search("shelf", vectors(names(5)), version="m/2", k=1)
    assert hits.ids[:, 0].tolist() == names(5)


def test_the_order_is_that_of_the_seed(alone):
    first = []
    for seed in (1, 1, 2):
        plan = planned(alone, seed=seed)
        alone.hold_backfill(plan.id, runner="me")
        first.append(alone.next_portion(plan.id, runner="me").ids)
        alone.leave_backfill(plan.id, runner="me")
        alone.roll_back_backfill(plan.id)
    assert first[0] == first[1] != first[2]


def test_most_searched_items_come_first(alone):
    plan = planned(alone, order="most-searched", counts={"i7": 3, "i90": 12, "i2": 5})
    alone.hold_backfill(plan.id, runner="me")
    assert alone.next_portion(plan.id, runner="me", most=3).ids == ("i90", "i2", "i7")


def test_items_far_from_their_class_come_first(alone):
    alone.create_gallery("odd", labels=["class"])
    rows = np.eye(OLD, dtype=np.float32)[np.arange(20) % 2] + 0.01 * vectors(names(20), OLD)
    rows[13] = [0, 0, 0, 0, 0, 1]
    alone.append("odd", version="m/1", ids=names(20), vectors=rows, labels={"class": [i % 2 for i in range(20)]})
    plan = alone.plan_backfill("odd", into="m/2", order="centroid-distance")
    alone.hold_backfill(plan.id, runner="me")
    assert alone.next_portion(plan.id, runner="me", most=1).ids == ("i13",)


def test_what_is_wrong_with_a_plan_is_said(shelf):
    for wrong, says in (
        ({"order": "best"}, "there is no order 'best'"),
        ({"batch": 0}, "batch"),
        ({"rate": 0}, "rate must be"),
        ({"rate": float("nan")}, "rate|plain JSON"),
        ({"encoder": "rm -rf"}, "an encoder is models:/"),
        ({"encoder": "http://me:pass@encoder/"}, "holds a user or a password"),
        ({"encoder": "http://encoder/?key=1"}, "has a query"),
        ({"inputs": "things"}, "inputs must be 'ids'"),
        ({"stop_at": "map=0.9"}, "measured on a benchmark"),
        ({"stop_at": "map=9", "benchmark": "shelf"}, "stop_at must be"),
        ({"order": "most-searched"}, "needs counts"),
        ({"counts": {"i1": 1}}, "no other, needs counts"),
        ({"order": "most-searched", "counts": {"i1": -1}}, "counts must be"),
        ({"order": "uncertainty"}, "name one"),
    ):
        with pytest.raises(InvalidInput, match=says) as caught:
            planned(shelf, **wrong)
        assert "pass" not in str(caught.value).replace("password", "")
    for missing in (
        {"benchmark": "none"},
        {"into": "m/9"},
        {"order": "centroid-distance", "label": "klass"},
        {"benchmark": "shelf", "label": "klass"},
    ):
        with pytest.raises(NotFound):
            shelf.plan_backfill("shelf", **{"into": "m/2", **missing})
    with pytest.raises(Incompatible, match="m/2"):  # whose queries cannot search what m/1 stored
        planned(shelf, benchmark="shelf")
    assert shelf.backfills() == []


def test_a_gallery_is_re_embedded_by_one_backfill_at_a_time(alone):
    plan = planned(alone)
    with pytest.raises(AlreadyExists, match=plan.id):
        planned(alone)
    alone.roll_back_backfill(plan.id)
    again = planned(alone)
    alone.run_backfill(again.id, encode=vectors)
    with pytest.raises(InvalidInput, match="nothing to re-embed"):
        planned(alone)


def test_two_do_not_run_one_backfill(alone):
    plan = planned(alone)
    alone.hold_backfill(plan.id, runner="ann@there")
    with pytest.raises(AlreadyExists, match="is run by ann@there until"):
        alone.run_backfill(plan.id, encode=vectors)
    with pytest.raises(AlreadyExists, match="ann@there"):
        alone.next_portion(plan.id, runner="ben")
    with pytest.raises(AlreadyExists, match="pause it first"):
        alone.roll_back_backfill(plan.id)
    assert alone.backfill(plan.id).runner == "ann@there"
    alone.leave_backfill(plan.id, runner="ann@there")
    assert alone.run_backfill(plan.id, encode=vectors).status == "finished"


def test_a_pause_from_elsewhere_ends_the_run_after_the_batch_at_hand(shelf):
    plan = planned(shelf)

    def encode(ids):
        shelf.pause_backfill(plan.id)
        return vectors(ids)

    found = shelf.run_backfill(plan.id, encode=encode)
    assert (found.status, found.done, found.runner) == ("paused", 50, None)
    assert held(shelf) == {"m/1": N, "m/2": 50}
    with pytest.raises(InvalidInput, match=f"samespace backfill resume {plan.id}"):
        shelf.run_backfill(plan.id, encode=vectors)
    assert shelf.resume_backfill(plan.id).status == "planned"
    assert shelf.run_backfill(plan.id, encode=vectors).written == N
    assert_embedded(shelf, names(N))
    for step in (shelf.pause_backfill, shelf.resume_backfill):
        with pytest.raises(InvalidInput, match="is finished"):
            step(plan.id)


def test_an_interrupted_run_is_paused_and_goes_on_where_it_was(alone):
    plan, asked = planned(alone), []

    def encode(ids):
        if len(asked) == 50:
            raise KeyboardInterrupt
        asked.extend(ids)
        return vectors(ids)

    with pytest.raises(KeyboardInterrupt):
        alone.run_backfill(plan.id, encode=encode)
    found = alone.backfill(plan.id)
    assert (found.status, found.done, found.error, found.runner) == ("paused", 50, None, None)
    alone.resume_backfill(plan.id)
    alone.run_backfill(plan.id, encode=lambda ids: asked.extend(ids) or vectors(ids))
    assert sorted(asked) == sorted(names(N))


def failing(bad):
    def encode(ids):
        if bad in ids:
            raise ValueError("a broken picture")
        return vectors(ids)

    return encode


def spoilt(value):
    def encode(ids):
        rows = vectors(ids)
        rows[[i for i, id in enumerate(ids) if id == "i42"]] = value
        return rows

    return encode


@pytest.mark.parametrize(
    ("encode", "error", "says"),
    [
        (failing("i42"), InvalidInput, "item 'i42' cannot be encoded.*ValueError: a broken picture"),
        (spoilt(np.nan), BadVector, "item 'i42'.*NaN"),
        (spoilt(0), BadVector, "item 'i42'.*only zeros"),
        (lambda ids: vectors(ids, NEW + 1), DimensionMismatch, "5 dimensions, m/2 has 4"),
        (lambda ids: vectors(ids)[1:], InvalidInput, "one for each"),
        (lambda ids: "no vectors", InvalidInput, "matrix"),
    ],
)
def test_a_batch_in_which_an_item_fails_is_not_stored_and_the_item_is_named(alone, encode, error, says):
    plan = planned(alone, batch=N)
    with pytest.raises(error, match=says):
        alone.run_backfill(plan.id, encode=encode)
    found = alone.backfill(plan.id)
    assert (found.status, found.done, found.runner) == ("paused", 0, None)
    assert found.error
    assert held(alone) == {"m/1": N}
    alone.resume_backfill(plan.id)
    assert alone.run_backfill(plan.id, encode=vectors).error is None


def test_an_encoder_that_is_another_than_the_registered_one_is_refused(alone):
    alone.add_canaries("m/2", ["i1", "i2"], vectors(["i1", "i2"]))
    plan = planned(alone)
    with pytest.raises(Incompatible, match="--allow-drift"):
        alone.run_backfill(plan.id, encode=lambda ids: -vectors(ids))
    assert held(alone) == {"m/1": N}
    assert not alone.encoder_checks("m/2")[0].ok
    alone.resume_backfill(plan.id)
    assert alone.run_backfill(plan.id, encode=vectors).status == "finished"
    assert alone.encoder_checks("m/2")[0].ok


def test_an_encoder_that_finds_nothing_of_the_canaries_is_held_to_them_all_the_same(alone):
    alone.add_canaries("m/2", ["a text"], np.ones((1, NEW)))
    plan = planned(alone)

    def encode(ids):
        if ids == ["a text"]:
            raise NotFound("there is no file 'a text'")
        return vectors(ids)

    with pytest.raises(NotFound, match=r"there is no file 'a text'; nothing was encoded.*--allow-drift"):
        alone.run_backfill(plan.id, encode=encode)
    assert held(alone) == {"m/1": N}
    alone.resume_backfill(plan.id)
    assert alone.run_backfill(plan.id, encode=encode, allow_drift=True).status == "finished"


def test_a_drifting_encoder_runs_where_that_is_asked_for(alone):
    alone.add_canaries("m/2", ["i1", "i2"], -vectors(["i1", "i2"]))
    plan = planned(alone)
    assert alone.run_backfill(plan.id, encode=vectors, allow_drift=True).status == "finished"


def test_what_is_deleted_or_added_meanwhile_is_passed_over_or_done_at_the_end(shelf):
    plan = planned(shelf)
    late, asked = names(30, start=N), []

    def encode(ids):
        if not asked:  # of the batch at hand one goes; and of those that follow
            rest = [id for id in names(N) if id not in ids]
            shelf.delete("shelf", [ids[0], rest[0]])
            shelf.append("shelf", version="m/2", ids=rest[1:4], vectors=-vectors(rest[1:4]))
            shelf.append(
                "shelf", version="m/1", ids=late, vectors=vectors(late, OLD), labels={"class": [0] * len(late)}
            )
            encode.gone, encode.others = [ids[0], rest[0]], rest[1:4]
        asked.extend(ids)
        return vectors(ids)

    done = shelf.run_backfill(plan.id, encode=encode)
    kept = [id for id in names(N) if id not in encode.gone]
    assert (done.status, done.total, done.done) == ("finished", N + 30, N + 30)
    assert done.written == len(kept) - 3 + 30
    assert held(shelf) == {"m/1": len(kept) + 30, "m/2": len(kept) + 30}
    assert sorted(asked) == sorted([*(id for id in kept if id not in encode.others), encode.gone[0], *late])
    assert_embedded(shelf, [id for id in [*kept, *late] if id not in encode.others])
    others = shelf.fetch("shelf", ids=encode.others, into="m/2")
    np.testing.assert_array_equal(others.vectors, -vectors(encode.others))

    shelf.roll_back_backfill(plan.id)  # takes its own vectors alone
    assert held(shelf) == {"m/1": len(kept) + 30, "m/2": 3}
    np.testing.assert_array_equal(shelf.fetch("shelf", ids=encode.others, into="m/2").vectors, others.vectors)


def test_a_rollback_leaves_what_was_written_under_the_id_of_a_deleted_item(shelf):
    plan = planned(shelf)
    shelf.run_backfill(plan.id, encode=vectors)
    shelf.delete("shelf", ["i5"])
    assert shelf.backfill(plan.id).written == N - 1
    for version, width in (("m/1", OLD), ("m/2", NEW)):
        shelf.append("shelf", version=version, ids=["i5"], vectors=vectors(["i5"], width), labels={"class": [1]})
    found = shelf.roll_back_backfill(plan.id)
    assert (found.status, found.written) == ("rolled back", 0)
    assert held(shelf) == {"m/1": N, "m/2": 1}
    assert shelf.roll_back_backfill(plan.id) == found


def test_a_step_that_is_sent_twice_is_taken_once(alone):
    plan = planned(alone)
    alone.hold_backfill(plan.id, runner="me")
    portion = alone.next_portion(plan.id, runner="me")
    assert alone.next_portion(plan.id, runner="me") == portion
    for _ in range(2):
        found = alone.store_portion(plan.id, runner="me", portion=portion, vectors=vectors(portion.ids))
        assert (found.done, found.written) == (50, 50)
    assert held(alone)["m/2"] == 50
    following = alone.next_portion(plan.id, runner="me")
    assert following.start == 50
    assert not set(following.ids) & set(portion.ids)


def test_a_portion_that_is_not_the_plans_is_refused(alone):
    plan = planned(alone)
    alone.hold_backfill(plan.id, runner="me")
    portion = alone.next_portion(plan.id, runner="me")
    others = tuple(id for id in names(N) if id not in portion.ids)[:50]
    for wrong in (
        type(portion)(0, 50, others),
        type(portion)(50, 100, portion.ids),
        type(portion)(0, 0, ()),
        type(portion)(0, 10, portion.ids),
        type(portion)(0, 2**40, ()),
    ):
        with pytest.raises(InvalidInput):
            alone.store_portion(plan.id, runner="me", portion=wrong, vectors=vectors(wrong.ids) if wrong.ids else None)
    assert held(alone) == {"m/1": N}


def test_searches_are_served_throughout_and_find_each_item_once(shelf):
    shelf.register_version("m", dim=OLD)  # reads both: a map to the old space, and one from the new
    from registry.transforms import Orthogonal

    turn = Orthogonal(weight=np.eye(NEW, OLD, dtype=np.float32), bias=np.zeros(OLD, dtype=np.float32))
    shelf.add_transform(turn, source="m/2", target="m/1")
    plan, over, wrong = planned(shelf, batch=20), threading.Event(), []

    def searching():
        while not over.is_set():
            try:
                hits = shelf.search("shelf", vectors(names(3)), version="m/2", k=N, allow_unmeasured=True)
            except Exception as error:
                wrong.append(error)
                return
            wrong.extend(row for row in hits.ids.tolist() if len(set(row)) != N)

    thread = threading.Thread(target=searching)
    thread.start()
    try:
        shelf.run_backfill(plan.id, encode=vectors)
    finally:
        over.set()
        thread.join()
    assert wrong == []


def test_a_segment_is_dropped_only_where_each_item_keeps_a_vector(shelf):
    with pytest.raises(InvalidInput, match="have vectors of m/1 alone"):
        shelf.drop_segment("shelf", "m/1")
    plan = planned(shelf)
    with pytest.raises(NotFound):
        shelf.drop_segment("shelf", "m/2")
    shelf.run_backfill(plan.id, encode=vectors)
    with pytest.raises(InvalidInput, match=f"{plan.id} can be rolled back as long as"):
        shelf.drop_segment("shelf", "m/1")
    assert shelf.drop_segment("shelf", "m/1", final=True) == N
    assert held(shelf) == {"m/2": N}
    assert_embedded(shelf, names(N))
    found = shelf.backfill(plan.id)
    assert (found.status, found.written) == ("finished", N)
    with pytest.raises(InvalidInput, match="can be rolled back no longer"):
        shelf.roll_back_backfill(plan.id)
    assert shelf.backfill(plan.id) == found
    assert held(shelf) == {"m/2": N}
    assert_embedded(shelf, names(N))


def test_a_backfill_whose_own_vectors_are_dropped_has_none_to_take_back(alone):
    plan = planned(alone)
    alone.run_backfill(plan.id, encode=vectors)
    assert alone.drop_segment("shelf", "m/2", final=True) == N
    assert alone.backfill(plan.id).written == 0
    assert alone.roll_back_backfill(plan.id).status == "rolled back"
    assert held(alone) == {"m/1": N}


def test_a_rollback_that_would_lose_items_is_refused(alone, tmp_path):
    """Their other vectors were in a file that somebody let go of since."""
    ids = names(30)
    table = pa.table({"id": ids, "vector": list(vectors(ids, OLD)), "class": ["c"] * 30})
    pq.write_table(table, tmp_path / "old.parquet")
    where = str(tmp_path / "old.parquet")
    alone.attach("lent", version="m/1", kind="parquet", where=where, labels={"class": "class"})
    alone.register_version("m", dim=OLD)
    alone.append("lent", version="m/3", ids=ids, vectors=vectors(ids, OLD))
    assert alone.drop_segment("lent", "m/3") == 30
    plan = alone.plan_backfill("lent", into="m/2")
    alone.run_backfill(plan.id, encode=vectors)
    alone.detach("lent", version="m/1")
    with pytest.raises(InvalidInput, match=r"30 items of lent, such as 'i\d+', have no other vector.*would be lost"):
        alone.roll_back_backfill(plan.id)
    assert held(alone, "lent") == {"m/2": 30}
    assert alone.backfill(plan.id).status == "finished"


def test_a_segment_that_a_rollback_rests_on_is_kept(alone):
    plan = planned(alone)
    alone.run_backfill(plan.id, encode=vectors)
    alone.register_version("m", dim=OLD)
    alone.append("shelf", version="m/3", ids=names(N - 1), vectors=vectors(names(N - 1), OLD))
    with pytest.raises(InvalidInput, match="can be rolled back as long as m/3"):
        alone.drop_segment("shelf", "m/3")
    assert held(alone)["m/3"] == N - 1


def test_quality_is_measured_wherever_the_registry_is(shelf):
    shelf.create_gallery("bench", labels=["class"])
    ids, labels = names(40), {"class": [i % 4 for i in range(40)]}
    for version, width in (("m/1", OLD), ("m/2", NEW)):
        shelf.append("bench", version=version, ids=ids, vectors=vectors(ids, width), labels=labels)
    found = shelf.run_backfill(planned(shelf, benchmark="bench").id, encode=vectors)
    assert found.measured["map"].at[-1] == 1
    assert found.measured["map"].values[0] == 0 < found.measured["map"].values[-1]  # no path leads to old vectors
    with pytest.raises(AlreadyExists, match="is not run by me"):
        shelf.measure_backfill(found.id, runner="me")


def test_the_webhook_and_the_audit_log_hear_of_it(shelf):
    secret = shelf.add_webhook("deploy", "https://93.184.215.14/", events=["backfill.finished"])
    assert secret
    plan = planned(shelf)
    shelf.run_backfill(plan.id, encode=vectors)
    assert [d.event for d in shelf.deliveries()] == ["backfill.finished"]
    actions = [c.action for c in shelf.changes(subject=plan.id)]
    assert actions == ["backfill.finished", "backfill.started", "backfill.planned"]
    shelf.roll_back_backfill(plan.id)
    assert shelf.changes(subject=plan.id)[0].details["removed"] == N


def test_what_is_not_there_is_not_found(alone):
    for step in (alone.backfill, alone.pause_backfill, alone.resume_backfill, alone.roll_back_backfill):
        with pytest.raises(NotFound, match="there is no backfill"):
            step("backfill-none")


def test_an_encoder_that_is_down_pauses_it(alone, monkeypatch):
    from registry.backfill import encoders

    monkeypatch.setattr(encoders, "_LONGEST_WAIT_S", 0.01)
    plan = planned(alone, encoder="http://127.0.0.1:9/encode")
    with pytest.raises(Unavailable, match="cannot be reached"):
        alone.run_backfill(plan.id)
    assert "cannot be reached" in alone.backfill(plan.id).error
    assert alone.backfill(plan.id).status == "paused"


@pytest.fixture
def named(tmp_path, monkeypatch):
    """An encoder of the same vectors in a module that nobody imported."""
    code = "import numpy as np\ndef encode(ids): return np.asarray([[int(i[1:]) + 1.0, 1, 0, 0] for i in ids])\n"
    (tmp_path / "planned_encoders.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planned_encoders", raising=False)
    return "planned_encoders:encode"


def test_a_plan_of_a_server_calls_no_encoder_that_whoever_runs_it_did_not_name(shelf, named):
    """Anybody who may write to a server may plan: the plan's word alone imports nothing on another machine."""
    plan = planned(shelf, encoder=named)
    with pytest.raises(InvalidInput, match="what you trust is 'other:encode'"):
        shelf.run_backfill(plan.id, trust="other:encode")
    if isinstance(shelf, Client):
        with pytest.raises(InvalidInput, match=f"asks to call the encoder '{named}' here.*name it with --trust"):
            shelf.run_backfill(plan.id)
    assert "planned_encoders" not in sys.modules
    assert shelf.backfill(plan.id) == plan
    assert shelf.run_backfill(plan.id, trust=named).written == N


def test_a_plan_of_ones_own_home_and_a_function_of_ones_own_need_no_naming(shelf, named):
    plan = planned(shelf, encoder=named)
    assert shelf.run_backfill(plan.id, encode=vectors).written == N
    assert "planned_encoders" not in sys.modules
    shelf.roll_back_backfill(plan.id)
    if not isinstance(shelf, Client):
        assert shelf.run_backfill(planned(shelf, encoder=named).id).written == N
