"""Where browsers find pictures of items, and what pictures are: addresses and formats that cannot be turned against whoever looks."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidInput, NotFound
from registry.previews import address_of, check_url, media_type
from tests.registry.test_previews import GIF, JPEG, ODD, PNG, WEBP


def test_the_address_of_pictures_is_set_and_taken_back(reg):
    reg.create_gallery("g")
    url = "https://images.example:8443/a/{id}/b.jpg?of={id}"
    assert reg.set_preview_url("g", url).preview_url == reg.gallery("g").preview_url == url
    change = reg.changes(limit=1)[0]
    assert (change.action, change.subject, change.details) == ("gallery.preview_url", "g", {"url": url})
    with pytest.raises(InvalidInput, match="in its path or query"):
        reg.set_preview_url("g", "https://images.example/")
    assert reg.gallery("g").preview_url == url
    assert reg.set_preview_url("g", None).preview_url is None
    with pytest.raises(NotFound):
        reg.set_preview_url("h", url)


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example/{id}", "http://127.0.0.1:8000/x?id={id}&size=32", "https://[2001:db8::1]/{id}.png",
        "HTTPS://Images.Example/{id}#page", "https://a_b.example/{id}{id}", "https://x/" + "a" * 986 + "{id}",
    ],
)  # fmt: skip
def test_addresses_of_pictures(url):
    assert check_url(url) == url
    for odd_id in (*ODD, 7):
        filled, plain = urlsplit(address_of(url, odd_id)), urlsplit(address_of(url, "x"))
        assert (filled.scheme, filled.netloc, filled.fragment) == (plain.scheme, plain.netloc, plain.fragment)
        assert (filled.path.count("/"), filled.query.count("&")) == (plain.path.count("/"), plain.query.count("&"))


@pytest.mark.parametrize(
    "url",
    [
        "", None, 5, b"https://x/{id}", "{id}", "/{id}", "//x/{id}", "https:///{id}", "https:/x/{id}", "https://x/", "https://x/{ID}",
        "https://{id}/", "https://{id}.example/{id}", "https://x:{id}/{id}", "{id}://x/{id}", "https://x/#{id}", "https://x/{id}#{id}",
        "https://x/{id}/{name}", "https://x/{{id}}", "https://x/{id", "https://x/{id}}", "https://x/{}{id}", "https://x/{0.__class__}{id}",
        "https://user@x/{id}", "https://user:secret@x/{id}", "https://x@y@z/{id}", "https://@x/{id}", "https://x\\@y/{id}",
        "javascript:alert({id})", "data:image/png,{id}", "file:///etc/{id}", "ftp://x/{id}", "https://x:0/{id}", "https://x:65536/{id}",
        "https://x:a/{id}", "https://x:/{id}", "https://[::1/{id}", "https://x y/{id}", " https://x/{id}", "https://x/{id}\n",
        "https://x/\t{id}", "https://x/{id}\0", "https://x/\"{id}", "https://x/<{id}>", "https://x/'{id}", "https://x;y/{id}",
        "https://x,y/{id}", "https://-x/{id}", "https://é.example/{id}", "https://x/" + "a" * 987 + "{id}", "https://*/{id}",
    ],
)  # fmt: skip
def test_addresses_that_are_none(url):
    with pytest.raises(InvalidInput) as raised:
        check_url(url)
    assert "secret" not in str(raised.value) and "\n" not in str(raised.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.integers(0, 2**63 - 1))
def test_an_id_stays_whole_in_its_place(id):
    address = address_of("https://images.example/a/{id}/b?x=1", id)
    parts = urlsplit(address)
    before, place, after = parts.path.removeprefix("/").split("/")
    assert (parts.netloc, parts.query, before, after) == ("images.example", "x=1", "a", "b")
    assert unquote(place) == str(id)
    assert address.isascii()


def test_formats_are_told_by_how_they_begin():
    assert [media_type(picture) for picture in (PNG, JPEG, GIF, b"GIF87a", WEBP)] == [
        "image/png", "image/jpeg", "image/gif", "image/gif", "image/webp",
    ]  # fmt: skip
    for wrong in (
        b"",
        PNG[:7],
        b"\xff\xd8",
        b"RIFF",
        b"BM",
        b"%PDF",
        b"<html>",
        b"\x1f\x8b",
        b"II*\0",
        b"RIFFWEBP" * 3,
    ):
        assert media_type(wrong) is None
