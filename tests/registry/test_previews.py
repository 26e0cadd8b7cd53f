"""Previews and pages of items: what is stored comes back, a bad batch leaves nothing, what is deleted is not seen again."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

from registry import connect, gallery
from registry import home as registry_home
from registry.backup import backup, restore
from registry.checking import check
from registry.doctor import examine
from registry.errors import AlreadyExists, DuplicateId, InvalidInput, NotFound, SamespaceError
from registry.findings import has_problem
from registry.layout import Layout

PNG, JPEG, GIF, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x10\0\0\0WEBP"
ODD = [
    "a/b/c",
    "..",
    "it's",
    'say "hi"',
    "👩‍👩‍👧",
    "e\u0301",
    "\u00e9",
    " ",
    "\n",
    "?id=1&x",
    "%2e%2e",
    "#",
    "\u202e",
    "x" * 512,
]


@pytest.fixture
def odd(reg, rows):
    """Gallery `g` of odd ids, embedded by m/1; the last four by m/2 too."""
    reg.register_version("m", dim=4)
    reg.register_version("m", dim=4)
    reg.create_gallery("g", labels=["class", "kind"])
    labels = {"class": list(range(len(ODD))), "kind": [f"k{n}" for n in range(len(ODD))]}
    reg.append("g", version="m/1", ids=ODD, vectors=rows(len(ODD), 4), labels=labels)
    reg.append("g", version="m/2", ids=ODD[-4:], vectors=rows(4, 4))
    return reg


def walked(reg, limit, **options):
    """All items of `g`, page by page."""
    found, after = [], None
    while True:
        page = reg.items("g", after=after, limit=limit, **options)
        assert len(page.items) <= limit
        found += page.items
        after = page.next
        if after is None:
            return found


# What goes in comes out


def test_pages_of_items_with_labels_versions_and_pictures(odd):
    pictures = {
        id: kind + bytes(range(n)) for n, (id, kind) in enumerate(zip(ODD, [PNG, JPEG, GIF, WEBP] * 4, strict=False))
    }
    given = ODD[:9:-1] + ODD[:5]  # in another order than the items, and not all
    assert odd.add_previews("g", given, pictures=[pictures[id] for id in given]) == 9
    found = walked(odd, 100, previews=True)
    assert found == walked(odd, 1, previews=True) == walked(odd, 5, previews=True)
    assert [item.id for item in found] == ODD
    for n, item in enumerate(found):
        assert item.labels == {"class": n, "kind": f"k{n}"}
        assert item.versions == (("m/1", "m/2") if n >= len(ODD) - 4 else ("m/1",))
        assert item.preview == (pictures[item.id] if item.id in given else None)
        assert odd.item("g", item.id) == item
    assert {item.preview for item in walked(odd, 5)} == {None}, "only where they are asked for"
    shown = odd.gallery("g")
    assert (shown.preview, shown.previews) == ("picture", 9)


def test_texts_and_ids_that_are_numbers(reg, rows):
    texts = {0: "red shoes", 2**63 - 1: "x" * 10_000, 7: "日本語 👩‍👩‍👧\n<script>alert(1)</script>", 3: " "}
    reg.register_version("m", dim=4)
    reg.create_gallery("g", id_type="int")
    reg.append("g", version="m/1", ids=[*texts, 5], vectors=rows(5, 4))
    assert reg.add_previews("g", np.array(list(texts)[:2]), texts=list(texts.values())[:2]) == 2
    assert reg.add_previews("g", list(texts)[2:], texts=list(texts.values())[2:]) == 2
    assert {item.id: item.preview for item in walked(reg, 2, previews=True)} == {**texts, 5: None}
    assert reg.item("g", np.int64(2**63 - 1)).preview == "x" * 10_000
    for wrong in ("7", -1, 2**63, True, None):
        with pytest.raises(InvalidInput):
            reg.item("g", wrong)
    with pytest.raises(NotFound, match="has no item 4"):
        reg.item("g", 4)


def test_an_empty_gallery_has_no_items(reg):
    reg.create_gallery("g")
    assert (reg.items("g").items, reg.items("g", previews=True).next) == ((), None)
    with pytest.raises(NotFound, match="has no item 'a'"):
        reg.item("g", "a")
    for ask in (lambda: reg.items("h"), lambda: reg.item("h", "a"), lambda: reg.add_previews("h", ["a"], texts=["b"])):
        with pytest.raises(NotFound, match="there is no gallery 'h'"):
            ask()


def test_previews_of_some_items_by_id(odd):
    with pytest.raises(InvalidInput, match="ids of this gallery are of type string"):
        odd.previews("g", [5])
    odd.add_previews("g", ODD[:4], pictures=[PNG, GIF, JPEG, WEBP])
    assert odd.previews("g", [ODD[3], "unknown", ODD[0], ODD[7]]) == {ODD[3]: WEBP, ODD[0]: PNG}
    assert odd.previews("g", []) == odd.previews("g", [ODD[7]]) == {}
    assert len(odd.previews("g", [*ODD, *(f"unknown {n}" for n in range(100 - len(ODD)))])) == 4
    with pytest.raises(InvalidInput, match="at most 100 previews"):
        odd.previews("g", [f"unknown {n}" for n in range(101)])
    with pytest.raises(NotFound):
        odd.previews("h", ["a"])


# All or nothing


BAD = [
    (["no", ODD[1]], [PNG, PNG], NotFound, "has no item 'no'"),
    ([ODD[1], ODD[0]], [PNG, PNG], AlreadyExists, "already has a preview for id 'a/b/c' .row 1"),
    ([ODD[1], ODD[2], ODD[1]], [PNG, PNG, PNG], DuplicateId, "stands twice in the batch, again at row 2"),
    ([ODD[1], ODD[2]], [PNG], InvalidInput, "2 ids for 1 pictures"),
    ([], [], InvalidInput, "the batch is empty"),
    ([ODD[1], 5], [PNG, PNG], InvalidInput, "ids of this gallery are of type string, row 1 is 5"),
    ([ODD[1], ODD[2]], [PNG, b""], InvalidInput, "row 1 has 0 bytes"),
    ([ODD[1], ODD[2]], [PNG, PNG + bytes(1 << 16)], InvalidInput, "row 1 has 65544 bytes: a preview has 1 to 65536"),
    ([ODD[1]], [b"<svg xmlns='http://www.w3.org/2000/svg'/>"], InvalidInput, "begins with b'<svg xml'"),
    ([ODD[1]], [b"<?xml version='1.0'?><svg/>"], InvalidInput, "a preview is PNG, JPEG, WebP or GIF"),
    ([ODD[1]], [b"GIF88a"], InvalidInput, "a preview is PNG, JPEG, WebP or GIF"),
    ([ODD[1]], [b"RIFF\0\0\0\0WAVE"], InvalidInput, "a preview is PNG, JPEG, WebP or GIF"),
    ([ODD[1]], [b" " + PNG], InvalidInput, "a preview is PNG, JPEG, WebP or GIF"),
    ([ODD[1]], ["PNG"], InvalidInput, "must be the bytes of a file, got str"),
    ([ODD[1]], PNG, InvalidInput, "pictures must be a list"),
]  # fmt: skip


def test_a_bad_batch_stores_nothing(odd):
    odd.add_previews("g", [ODD[0]], pictures=[PNG])
    for ids, pictures, error, said in BAD:
        with pytest.raises(error, match=said) as raised:
            odd.add_previews("g", ids, pictures=pictures)
        assert "\n" not in str(raised.value)
    for wrong in ({}, {"pictures": [PNG], "texts": ["a"]}):
        with pytest.raises(InvalidInput, match="one of the two"):
            odd.add_previews("g", [ODD[1]], **wrong)
    with pytest.raises(InvalidInput, match="previews of g are pictures, got texts"):
        odd.add_previews("g", [ODD[1]], texts=["a"])
    with pytest.raises(InvalidInput, match="kind must be 'picture' or 'text', got 'sound'"):
        odd.add_preview_parts("g", kind="sound", parts=[])
    assert odd.gallery("g").previews == 1
    assert [item.id for item in walked(odd, 100, previews=True) if item.preview] == [ODD[0]]


def test_texts_that_are_none(odd):
    for text in ("", "x" * 10_001, "a\0b", "\ud800", b"bytes", None, 5):
        with pytest.raises(InvalidInput, match="the text of row 1 must be a text of 1 to 10000 characters"):
            odd.add_previews("g", ODD[:2], texts=["fine", text])
    assert (odd.gallery("g").preview, odd.gallery("g").previews) == (None, 0)


def test_parts_are_one_batch(odd):
    def parts(last):
        yield ODD[:3], [PNG + b"a", PNG + b"b", PNG + b"c"]
        yield ODD[3:5], [GIF, JPEG]
        yield last

    for wrong, error, said in (
        (([ODD[0]], [PNG]), DuplicateId, "stands twice"),
        ((["no"], [PNG]), NotFound, "has no item 'no'"),
        (([ODD[6]], [b"MZ"]), InvalidInput, "the picture of row 5 begins"),
    ):
        with pytest.raises(error, match=said):
            odd.add_preview_parts("g", kind="picture", parts=parts(wrong))
    with pytest.raises(InvalidInput, match="empty"):
        odd.add_preview_parts("g", kind="picture", parts=[])
    assert odd.gallery("g").previews == 0
    assert odd.add_preview_parts("g", kind="picture", parts=parts(([ODD[6]], [WEBP]))) == 6
    assert [item.preview for item in odd.items("g", limit=7, previews=True).items] == [
        PNG + b"a", PNG + b"b", PNG + b"c", GIF, JPEG, None, WEBP,
    ]  # fmt: skip


def test_a_repeated_request_stores_nothing_and_the_audit_log_tells_of_the_first(odd):
    for _ in range(2):
        assert odd.add_previews("g", ODD[:2], pictures=[PNG, GIF], key="once") == 2
    with pytest.raises(InvalidInput, match="was used for another request"):
        odd.add_previews("g", ODD[2:4], pictures=[PNG, GIF], key="once")
    assert odd.gallery("g").previews == 2
    change = odd.changes(limit=1)[0]
    assert (change.action, change.subject, change.details) == (
        "gallery.previewed",
        "g",
        {"kind": "picture", "previews": 2},
    )


def test_one_of_several_at_once_stores_them(odd):
    def add(n):
        try:
            return odd.add_previews("g", ODD[:5], pictures=[PNG + bytes([n])] * 5)
        except AlreadyExists:
            return 0

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(4))) == [0, 0, 0, 5]
    assert len({i.preview for i in odd.items("g", limit=5, previews=True).items}) == 1
    assert odd.gallery("g").previews == 5


# Deleting


def test_a_preview_goes_with_its_item(odd, rows):
    odd.add_previews("g", ODD[:4], pictures=[PNG, GIF, JPEG, WEBP])
    assert odd.delete("g", [ODD[1], ODD[2], ODD[9], "unknown"]) == 3
    assert odd.gallery("g").previews == 2
    assert [(i.id, i.preview) for i in odd.items("g", limit=3, previews=True).items] == [
        (ODD[0], PNG), (ODD[3], WEBP), (ODD[4], None),
    ]  # fmt: skip
    with pytest.raises(NotFound):
        odd.item("g", ODD[1])
    odd.append("g", version="m/2", ids=[ODD[1]], vectors=rows(1, 4), labels={"class": [5], "kind": ["new"]})
    assert odd.item("g", ODD[1]).preview is None, "the new item is another one"
    assert odd.add_previews("g", [ODD[1]], pictures=[PNG + b"new"]) == 1
    found = odd.item("g", ODD[1])
    assert (found.preview, found.versions, found.labels) == (PNG + b"new", ("m/2",), {"class": 5, "kind": "new"})


def test_pages_stay_where_they_were_while_others_write(odd, rows):
    odd.add_previews("g", ODD[:10], pictures=[PNG + bytes([n]) for n in range(10)])
    first = odd.items("g", limit=4, previews=True)
    odd.delete("g", [ODD[0], ODD[3], ODD[5]])
    odd.append("g", version="m/1", ids=["later"], vectors=rows(1, 4), labels={"class": [0], "kind": ["k"]})
    odd.append("g", version="m/1", ids=[ODD[5]], vectors=rows(1, 4), labels={"class": [99], "kind": ["again"]})
    second = odd.items("g", after=first.next, limit=4, previews=True)
    assert [(i.id, i.preview) for i in second.items] == [
        (ODD[4], PNG + b"\x04"), (ODD[5], None), (ODD[6], PNG + b"\x06"), (ODD[7], PNG + b"\x07"),
    ]  # fmt: skip
    assert second.items[1].labels == {"class": 99, "kind": "again"}, "as it is now"
    odd.delete("g", ODD[8:12])
    third = odd.items("g", after=second.next, limit=4)
    assert third.items == () and third.next, "all of them went"
    assert [i.id for i in odd.items("g", after=third.next).items] == ODD[12:]
    assert odd.items("g", after=second.next, limit=100).next is None
    whole = [ODD[1], ODD[2], ODD[4], *ODD[6:8], *ODD[12:], "later", ODD[5]]
    assert [i.id for i in walked(odd, 3)] == whole, "and whoever begins anew sees it as it is"


def test_cursors_and_limits_that_are_none(odd):
    odd.create_gallery("h")
    cursor = odd.items("g", limit=2).next
    with pytest.raises(InvalidInput, match="no cursor of items of h"):
        odd.items("h", after=cursor)
    for wrong in ("", "x", "é", cursor[:-2], odd.page("changes", limit=1).next):
        with pytest.raises(InvalidInput, match="cursor"):
            odd.items("g", after=wrong)
    for limit in (0, -1, 1001, True, "5"):
        with pytest.raises(InvalidInput, match="limit"):
            odd.items("g", limit=limit)
    with pytest.raises(InvalidInput, match="limit must be a whole number from 1 to 100 items with previews, got 101"):
        odd.items("g", limit=101, previews=True)
    assert len(odd.items("g", limit=1000).items) == len(ODD)


@pytest.mark.embedded
def test_a_cursor_of_a_state_that_is_gone(odd, rows, monkeypatch):
    after = odd.items("g", limit=2).next
    monkeypatch.setattr(gallery, "KEPT_FOR", timedelta())
    monkeypatch.setattr(gallery, "_SMALL_FILES", 1)  # so that every write clears up
    for n in range(3):
        odd.append("g", version="m/1", ids=[f"new {n}"], vectors=rows(1, 4), labels={"class": [0], "kind": ["k"]})
    with connect(odd.home, database=str(odd._home.database.url.render_as_string(hide_password=False))) as fresh:
        with pytest.raises(InvalidInput, match="of a state that is gone"):
            fresh.items("g", after=after)
        assert [i.id for i in fresh.items("g", limit=1000).items] == [*ODD, "new 0", "new 1", "new 2"]


# Looking after them


def test_small_files_are_merged_and_nothing_is_mistaken_for_another(lite, rows, monkeypatch):
    monkeypatch.setattr(gallery, "_SMALL_FILES", 3)
    monkeypatch.setattr(registry_home, "_PREVIEWS_IN_A_FILE", 4)
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=np.arange(40), vectors=rows(40, 4))
    left = dict.fromkeys(range(40))
    for start in range(0, 36, 3):
        ids = [start + 2, start, start + 1]
        lite.add_previews("g", ids, texts=[f"text of {n}" for n in ids])
        left.update({n: f"text of {n}" for n in ids})
        lite.delete("g", [start])
        del left[start]
    assert {i.id: i.preview for i in walked(lite, 7, previews=True)} == left
    assert {n: lite.item("g", n).preview for n in left} == left
    assert len(list((lite._home.layout.previews_of("g") / "data").entries())) > 3
    with pytest.raises(AlreadyExists):
        lite.add_previews("g", [39, 34], texts=["a", "b"])


@pytest.mark.embedded
def test_backups_carry_them_and_checks_know_them(lite, home, tmp_path, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=ODD, vectors=rows(len(ODD), 4))
    lite.add_previews("g", ODD[:3], pictures=[PNG, GIF, JPEG])
    lite.add_previews("g", ODD[3:5], pictures=[PNG, GIF])
    lite.delete("g", ODD[:1])
    for wrong in ((["no"], [PNG]), (ODD[1:2], [PNG]), (ODD[6:7], [b"<svg>"])):
        with pytest.raises(SamespaceError):
            lite.add_previews("g", wrong[0], pictures=wrong[1])
    layout, database = Layout(home), lite._home.database
    backup(layout, database, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    with connect(tmp_path / "restored") as again:
        assert walked(again, 100, previews=True) == walked(lite, 100, previews=True)
        assert again.gallery("g").previews == 4
    assert not has_problem(check(database, layout))
    data = [file for path in (layout.previews_of("g"), layout.items_of("g")) for file in (path / "data").entries()]
    assert len(data) == 3, "a refused batch leaves no file"
    assert examine(layout, database)[1] == []
    shutil.rmtree(layout.previews_of("g") / "data")
    assert [f.what for f in check(database, layout) if f.level == "problem"] == ["g/previews.lance"]
