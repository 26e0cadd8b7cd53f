"""Settings of the service: each with its `SAMESPACE_*` variable, its default, and what it is for.

`samespace serve` takes them as flags, `samespace doctor` lists them with what they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from registry.errors import InvalidInput

__all__ = ["Settings", "variable"]


def _setting(default: Any, help: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"help": help, "secret": secret}, repr=not secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server runs. `Settings.read()` takes what the environment says."""

    host: str = _setting("127.0.0.1", "address to listen on; another than loopback needs tokens")
    port: int = _setting(8321, "port to listen on")
    workers: int = _setting(2, "processes")
    threads: int = _setting(16, "threads of each process")
    transfers: int = _setting(
        8, "threads of each process that vectors may be sent from at a time; the rest answers quickly"
    )
    hosts: str = _setting("", "names beside localhost that requests may ask for, with commas between; '*' is any")
    body_mb: int = _setting(65536, "largest body of vectors, in MiB; they are read in pieces, never held whole")
    rate_limit: str = _setting("", "requests of one token or address, such as '600 per minute'; empty is no limit")
    webhook_allow: str = _setting("", "hosts that webhooks may call, private ones too; empty is every public one")
    attachable: str = _setting(
        "",
        "addresses and folders, with commas between, below which admins may attach vectors through the server, such as "
        "'/srv/vectors'; empty is none",
    )
    tracking_uri: str = _setting(
        "", "MLflow's store of runs; empty is mlflow.db in the home", secret=True
    )  # it may hold a password
    mlflow_url: str = _setting("", "address of MLflow's own pages, for links to runs; empty is none")
    encoders: str = _setting(
        "",
        "encoders for the search page, such as 'products/2=http://127.0.0.1:9000/encode,products/1=module:function'",
        secret=True,
    )  # an address may hold a key
    log_level: str = _setting("info", "of the log, in JSON lines on standard error: debug, info, warning or error")
    secret_key: str = _setting("", "signs sessions; made and kept in the home unless given", secret=True)

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """What was `given`, else what the environment says, else the defaults.

        Raises:
            InvalidInput: a variable that is no number where one is needed.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        for setting in fields(cls):
            text = environment.get(variable(setting.name))
            if setting.name in values or text is None:
                continue
            assert setting.default is not MISSING  # noqa: S101 - every setting has one
            try:
                values[setting.name] = type(setting.default)(text)
            except ValueError:
                raise InvalidInput(f"{variable(setting.name)} must be a whole number, got {text!r:.80}") from None
        return cls(**values)

    @property
    def host_names(self) -> tuple[str, ...]:
        """`hosts` as a list."""
        return _listed(self.hosts)

    @property
    def webhook_hosts(self) -> tuple[str, ...]:
        """`webhook_allow` as a list."""
        return _listed(self.webhook_allow)

    @property
    def attachable_at(self) -> tuple[str, ...]:
        """`attachable` as a list."""
        return tuple(part.strip() for part in self.attachable.split(",") if part.strip())


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"SAMESPACE_{name.upper()}"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())
