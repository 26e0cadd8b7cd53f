"""Where galleries can be: folders of this machine, and object stores that speak S3.

Whoever has the address of a place needs no other way to it: credentials, region and endpoint are what the environment,
or the profile that it names, says to every client of such stores (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`,
…). They are never part of an address, and nothing here keeps or prints them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import ENOENT
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar, cast

from registry.errors import InvalidInput, Unavailable

__all__ = ["File", "Place", "why_not"]

T = TypeVar("T")

_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*")
_LONGEST = 500
_CONNECT_S, _ANSWER_S, _RETRIES, _RETRY_S = 5, 60, 3, 30
"""How long a store may take to be reached and to answer, and how often and how long it is asked again."""

_REASONS = (
    (r"NoSuchBucket", "has no such bucket: make it, or check the address"),
    (r"NO_SUCH_BUCKET", "has no such bucket: make it, or check the address"),
    (
        r"get AWS credentials|CredentialsNotLoaded",
        "was asked without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    (
        r"\b40[13] |AccessDenied|ACCESS_DENIED|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|INVALID_|Forbidden",
        "refused the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and what they may do",
    ),
    (r"Generic S3 error|AWS Error|HTTP error|curlCode", "cannot be reached: check AWS_ENDPOINT_URL and try again"),
)
"""What a store's own words mean. They are never repeated: they may hold a key's name, or what was signed with it."""


@dataclass(frozen=True, slots=True)
class File:
    """A file at `place`, its size, and when it was last changed, UTC."""

    place: Place
    bytes: int
    changed: datetime


class Place(str):
    """A folder or a file: the absolute path of one of this machine, or the address `s3://bucket/…` of one in a store.

    A store knows no folders: there, one is what the addresses of some files begin with.
    """

    __slots__ = ()

    @classmethod
    def named(cls, address: str | os.PathLike[str]) -> Self:
        """The place that a person named: a folder, `file:///…` or `s3://bucket/prefix`.

        Raises:
            InvalidInput: another kind of address, or one that holds more than a bucket and a prefix.
        """
        text = os.fspath(address) if isinstance(address, str | os.PathLike) else ""
        text = text.removeprefix("file://") if text.startswith("file:///") else text
        if not text or len(text) > _LONGEST or "\0" in text:
            raise InvalidInput(
                f"galleries are a folder or an address of at most {_LONGEST} characters: s3://bucket/prefix"
            )
        if not re.match(r"[A-Za-z0-9+.-]+://", text):
            return cls(Path(text).expanduser().resolve())
        text = text.rstrip("/")
        if not _STORE.fullmatch(text):  # not repeated: it may hold a password
            raise InvalidInput(
                "galleries are in a folder or at s3://bucket/prefix, of letters, digits and . _ - =, without credentials in "
                "it: those are read from AWS_ACCESS_KEY_ID and the like"
            )
        return cls(text)

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self}/{name}")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return not self.startswith("s3://")

    @property
    def name(self) -> str:
        """The last part."""
        return self.rsplit("/", 1)[-1]

    def below(self, folder: Place) -> str:
        """The way from a folder to here."""
        return self.removeprefix(f"{folder}/")

    @property
    def options(self) -> dict[str, str]:
        """What Lance needs to know of the store beside its address; nothing of it is secret."""
        if self.is_local:
            return {}
        endpoint, region = _endpoint(), _region()
        options = {
            "connect_timeout": f"{_CONNECT_S}s",
            "timeout": f"{_ANSWER_S}s",
            "client_max_retries": str(_RETRIES),
            "client_retry_timeout": str(_RETRY_S),
        }
        if endpoint:
            options |= {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
        return options | ({"aws_region": region} if region else {})

    def make(self) -> None:
        """Make the folder; a store needs none."""
        if self.is_local:
            Path(self).mkdir(parents=True, exist_ok=True)

    def entries(self) -> list[Place]:
        """What is in this folder, by name; nothing if there is no such folder."""
        if self.is_local:
            return sorted(Place(found) for found in Path(self).iterdir()) if Path(self).is_dir() else []
        return sorted(self / info.base_name for info in self._listed(recursive=False))

    def files(self) -> list[File]:
        """Every file in this folder and below, or this file itself. FileNotFoundError if one goes meanwhile."""
        if self.is_local:
            return list(self._local_files())
        found = self._listed(recursive=True) or [self._asked(lambda: self._system.get_file_info(self._path))]
        return [File(Place(f"s3://{info.path}"), info.size, info.mtime) for info in found if info.is_file]

    def changed(self) -> datetime | None:
        """When anything of it last changed, UTC: on this machine that a folder was made is a change. None if it is not there."""
        if not self.is_local:
            return max((file.changed for file in self.files()), default=None)
        path = Path(self)
        try:
            states = [found.lstat() for found in ([path, *path.rglob("*")] if path.is_dir() else [path])]
        except FileNotFoundError:  # somebody is at work in it
            return None
        return datetime.fromtimestamp(max(state.st_mtime for state in states), UTC)

    def remove(self) -> None:
        """Remove this file, or this folder and all that is in it; nothing if it is not there."""
        if not self.is_local:
            for path in [file.place._path for file in self.files()]:
                self._asked(partial(self._system.delete_file, path))
        elif Path(self).is_dir():
            shutil.rmtree(self)
        else:
            Path(self).unlink(missing_ok=True)

    def reader(self) -> BinaryIO:
        """The file, to read. FileNotFoundError if it is not there."""
        if self.is_local:
            return open(self, "rb")
        return cast("BinaryIO", self._asked(lambda: self._system.open_input_stream(self._path)))

    @contextmanager
    def writer(self) -> Iterator[BinaryIO]:
        """A new file to write; in a store it is there whole once the block ends."""
        if self.is_local:
            with open(self, "xb") as file:
                yield file
            return
        with self._explained(), self._system.open_output_stream(self._path) as file:
            yield file

    @property
    def _path(self) -> str:
        return self.removeprefix("s3://")

    @property
    def _system(self) -> Any:
        return _store(_endpoint(), _region())

    def _local_files(self) -> Iterator[File]:
        path = Path(self)
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                state = file.lstat()
                yield File(Place(file), state.st_size, datetime.fromtimestamp(state.st_mtime, UTC))

    def _listed(self, *, recursive: bool) -> list[Any]:
        from pyarrow.fs import FileSelector

        wanted = FileSelector(self._path, recursive=recursive, allow_not_found=True)
        return list(self._asked(lambda: self._system.get_file_info(wanted)))

    def _asked(self, question: Callable[[], T]) -> T:
        with self._explained():
            return question()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say of a store's error what it means."""
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(self)) from None
        except (OSError, ValueError) as error:
            if why := why_not(self, error):
                raise Unavailable(f"{self}: the store {why}") from None
            raise


def why_not(address: str, error: BaseException) -> str | None:
    """What kept a store from answering, and what to do; None if it did answer, or the address is on this machine."""
    if not address.startswith("s3://"):
        return None
    text = str(error)
    if re.search(r"NoSuchKey|not found: ", text):
        return None
    return next((reason for pattern, reason in _REASONS if re.search(pattern, text)), None)


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _region() -> str | None:
    """Where no region is named, a store that is not Amazon's seldom has any; Amazon's are looked up by their bucket."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or ("us-east-1" if _endpoint() else None)


@cache
def _store(endpoint: str | None, region: str | None) -> Any:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    scheme, _, host = (endpoint or "https://").rstrip("/").partition("://")
    return S3FileSystem(
        scheme=scheme,
        endpoint_override=host or None,
        region=region,
        connect_timeout=_CONNECT_S,
        request_timeout=_ANSWER_S,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=_RETRIES),
    )
