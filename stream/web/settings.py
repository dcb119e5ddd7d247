"""Where the live page is served, and to whom. It imports no web library and no torch."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream.web.options import DEFAULT_ADDRESS, DEFAULT_HOST, DEFAULT_PORT

SHORTEST_TOKEN = 12  # characters
LOCALHOST = "localhost"
_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::(?P<port>\d+))?"
)


class ServeSettings(BaseModel):
    """Where and to whom.

    Attributes:
        address: HOST:PORT, HOST or PORT to listen on; port 0 is any that is free.
        token: that lets an operator in; at least 12 characters.
        users: a file of ``rcnn-live users``.
        tls_cert: a PEM file with the certificate, and those that it hangs on.
        tls_key: a PEM file with its key.
        names: further names under which browsers reach it, such as that of a proxy.

    Raises:
        ValueError: if the address is none, or anybody could come in from outside.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    address: str = DEFAULT_ADDRESS
    token: str | None = Field(default=None, repr=False)
    users: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    names: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """To listen on."""
        return _parsed(self.address)[0]

    @property
    def port(self) -> int:
        """To listen on."""
        return _parsed(self.address)[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def needs_login(self) -> bool:
        """Whether nobody is let in without a token or a password."""
        return self.token is not None or self.users is not None

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, value: Any) -> Any:
        return {"address": str(value)} if isinstance(value, str | int) else value

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        host, _ = _parsed(self.address)
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ValueError(
                f"the token has {len(self.token)} characters: give it {SHORTEST_TOKEN} at least, "
                "such as those of 'openssl rand -hex 16'"
            )
        if not is_loopback(host) and not self.needs_login:
            raise ValueError(
                f"{self.address} can be reached from other machines: add --token, --token-file or "
                f"--users, or serve on {DEFAULT_HOST}"
            )
        if any(not is_loopback(name) for name in self.names) and not self.needs_login:
            raise ValueError(
                f"as {self.names[0]} it can be reached from other machines: add --token, "
                "--token-file or --users"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together: give both or none")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can mean itself by that name or number."""
    if host.lower() == LOCALHOST:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed(address: str) -> tuple[str, int]:
    if address.isdecimal():
        address = f"{DEFAULT_HOST}:{address}"
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            f"{address!r} is no address to serve on: give HOST:PORT, HOST or PORT, such as "
            f"{DEFAULT_ADDRESS}"
        )
    port = DEFAULT_PORT if found["port"] is None else int(found["port"])
    if port > 65535:
        raise ValueError(f"there is no port {port}: give one of 1 to 65535")
    return found["six"] or found["name"], port
