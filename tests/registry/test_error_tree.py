"""The error tree: one root, stable codes, and a docstring that tells the truth about it."""

from __future__ import annotations

import re

import pytest

from registry import errors
from registry.errors import SamespaceError, from_code

CLASSES = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]


def test_all_public_classes_are_of_the_tree():
    defined = {v for v in vars(errors).values() if isinstance(v, type) and v.__module__ == errors.__name__}
    assert set(CLASSES) == defined
    assert all(issubclass(cls, SamespaceError) for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_a_code_is_its_own_and_leads_back(cls):
    assert "code" in vars(cls)
    assert re.fullmatch("[a-z_]+", cls.code)
    assert [c for c in CLASSES if c.code == cls.code] == [cls]
    assert from_code(cls.code) is cls
    assert str(cls("a message")) == "a message"
    assert cls.__doc__


def test_the_codes_are_those_that_clients_know():
    assert sorted(c.code for c in CLASSES) == [
        "already_exists", "bad_name", "bad_vector", "corrupt_file", "dimension_mismatch", "duplicate_id", "error",
        "incompatible", "invalid_input", "migration_needed", "missing_extra", "not_allowed", "not_found", "not_signed_in",
        "not_worth_it", "too_large", "too_many", "unavailable", "unmeasured",
    ]  # fmt: skip


def test_an_unknown_code_is_the_root():
    assert from_code("of_a_newer_server") is SamespaceError


@pytest.mark.parametrize("name", ["BadVector", "DuplicateId"])
def test_an_error_about_a_row_says_which(name):
    cls = getattr(errors, name)
    assert cls("x", row=3).row == 3
    assert cls("x").row is None


def drawn(text):
    """(name, parent, builtin) for each line of the tree in the docstring."""
    found, above = [], []
    for line in text.splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+)(?:\s+\((\w+)\))?", line)
        if match and (match[1] or match[2] == "SamespaceError"):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            found.append((match[2], above[depth - 1] if depth else "Exception", match[3]))
    return found


def test_the_drawn_tree_is_the_tree():
    tree = drawn(errors.__doc__)
    assert {name for name, _, _ in tree} == {cls.__name__ for cls in CLASSES}
    for name, parent, builtin in tree:
        bases = [base.__name__ for base in getattr(errors, name).__bases__]
        assert bases == ([parent, builtin] if builtin else [parent])
