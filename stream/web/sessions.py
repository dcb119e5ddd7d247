"""Who is logged in, and how often somebody may be wrong about a password."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv6Network, ip_address

from stream.web.users import Role

SESSION_SECONDS = 12 * 3600.0
MOST_SESSIONS = 1000  # the oldest goes when there are more
LOGIN_SECONDS, LOGIN_TRIES = 60.0, 10  # wrong ones of one address
_MOST_ADDRESSES = 10_000  # that tries are kept of


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Attributes:
        user: their name; None for whoever has the token or needs none.
        role: what they may do.
        password_hash: in the file of users when they logged in; empty where there is none.
    """

    user: str | None
    role: Role
    password_hash: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Session:
    identity: Identity
    ends_at: float  # monotonic


class Sessions:
    """Cookies and who they stand for. Only their digests are kept. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[bytes, _Session] = {}

    def begin(self, identity: Identity) -> str:
        """A new cookie."""
        cookie = secrets.token_urlsafe(32)
        now = time.monotonic()
        with self._lock:
            live = {key: one for key, one in self._sessions.items() if one.ends_at > now}
            for key in list(live)[: max(0, len(live) - MOST_SESSIONS + 1)]:
                del live[key]
            live[_digest(cookie)] = _Session(identity, now + SESSION_SECONDS)
            self._sessions = live
        return cookie

    def find(self, cookie: str) -> Identity | None:
        """Whose cookie it is, None if it is nobody's any more."""
        session = self._sessions.get(_digest(cookie))
        if session is None or session.ends_at <= time.monotonic():
            return None
        return session.identity

    def end(self, cookie: str) -> None:
        """The cookie is worth nothing from now on."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)


class TryLimit:
    """Counts wrong tries to log in, by address. From any thread.

    Who is right is not forgiven what was wrong: a login of one's own would let one guess another's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[str, deque[float]] = {}  # the latest last

    def wait_seconds(self, address: str) -> float:
        """How long that address has to wait before its next try; 0 for not at all."""
        with self._lock:
            tries = self._wrong.get(_network(address))
            if tries is None or len(tries) < LOGIN_TRIES:
                return 0.0
            return max(0.0, tries[0] + LOGIN_SECONDS - time.monotonic())

    def failed(self, address: str) -> None:
        """That address was wrong."""
        network = _network(address)
        with self._lock:
            tries = self._wrong.pop(network, None) or deque(maxlen=LOGIN_TRIES)
            tries.append(time.monotonic())
            if len(self._wrong) >= _MOST_ADDRESSES:
                del self._wrong[next(iter(self._wrong))]
            self._wrong[network] = tries


def is_same(given: str, right: str) -> bool:
    """Compares in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def _network(address: str) -> str:
    """The address; of version 6 its first half, as whoever has one has a whole network of them."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Network((int(found), 64), strict=False)) if found.version == 6 else address


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
