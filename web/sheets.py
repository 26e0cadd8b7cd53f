"""Tables as CSV files to save, for spreadsheets: what users named is text there, and never a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flask import Response

__all__ = ["MEDIA_TYPE", "cell", "saved"]

MEDIA_TYPE = "text/csv; charset=utf-8"

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are wide forms, as in Japanese
_ROWS_AT_ONCE = 1000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def cell(value: Any) -> Any:
    """A value as a cell: a text that a spreadsheet would take for a formula gets a leading quote; None and NaN are empty."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if value is None or value != value:  # NaN is not itself
        return ""
    return value


def saved(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """The answer that a browser saves as `name`, in which unusual characters become dashes; rows are sent as they come."""
    response = Response(_lines(header, rows), content_type=MEDIA_TYPE)
    response.headers["Content-Disposition"] = f'attachment; filename="{_UNSAFE.sub("-", name)}"'
    return response


def _lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\r\n")  # as RFC 4180 has it
    writer.writerow([cell(name) for name in header])
    for number, row in enumerate(rows, 1):
        writer.writerow([cell(value) for value in row])
        if number % _ROWS_AT_ONCE == 0:
            yield held.getvalue().encode()
            held.seek(0)
            held.truncate()
    yield held.getvalue().encode()
