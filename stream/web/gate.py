"""Who is who: token, password and cookie."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping

from stream.web.sessions import Identity, Sessions, TryLimit, is_same
from stream.web.settings import ServeSettings
from stream.web.users import User, Users

COOKIE = "rcnn_live_session"
BASIC_SECONDS = 60.0  # that a right password is believed without being hashed again
_MOST_BASIC = 1000


class TooManyTries(Exception):
    """Somebody was wrong too often.

    Attributes:
        wait_seconds: until the next try.
    """

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds


class Gate:
    """Lets people in. Safe to use from any thread.

    Args:
        settings: who may.

    Raises:
        UsageError: if the file of users is wrong.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.needs_login = settings.needs_login
        self._token = settings.token
        self._users = Users(settings.users) if settings.users is not None else None
        self._sessions, self._tries = Sessions(), TryLimit()
        # one password at a time: of many at once, all would be tried before one is counted
        self._guessing = threading.Lock()
        self._basic_key = secrets.token_bytes(32)
        self._basic: dict[bytes, tuple[Identity, float]] = {}  # and until when, monotonic

    def log_in(
        self, address: str, *, token: str | None = None, user: str = "", password: str = ""
    ) -> Identity | None:
        """Who that is, None if token or password is wrong. It may take as long as a hash.

        Raises:
            TooManyTries: if that address was wrong too often.
        """
        if token is not None:
            return self._judged(address, token, user, password)
        with self._guessing:
            return self._judged(address, None, user, password)

    def _judged(self, address: str, token: str | None, user: str, password: str) -> Identity | None:
        if (wait_seconds := self._tries.wait_seconds(address)) > 0:
            raise TooManyTries(wait_seconds)
        identity = self._identity(token, user, password)
        if identity is None:
            self._tries.failed(address)
        return identity

    def begin_session(self, identity: Identity) -> str:
        """The cookie that stands for them."""
        return self._sessions.begin(identity)

    def end_session(self, cookie: str) -> None:
        """They leave."""
        self._sessions.end(cookie)

    def asks_to_hash(self, headers: Mapping[str, str]) -> bool:
        """Whether ``identify`` may take as long as a hash."""
        return headers.get("authorization", "").partition(" ")[0].lower() == "basic"

    def identify(
        self, headers: Mapping[str, str], cookie: str | None, address: str
    ) -> Identity | None:
        """Who sent a request, None for somebody unknown.

        Raises:
            TooManyTries: if that address was wrong too often.
        """
        if not self.needs_login:
            return Identity(None, "operator")
        kind, _, credentials = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.log_in(address, token=credentials.strip())
        if kind.lower() == "basic":
            return self._basic_identity(credentials.strip(), address)
        identity = self._sessions.find(cookie) if cookie else None
        return identity if identity is not None and self._is_still_known(identity) else None

    def _is_still_known(self, identity: Identity) -> bool:
        if identity.user is None:
            return True
        user = User(identity.user, identity.role, identity.password_hash)
        return self._users is not None and self._users.holds(user)

    def _identity(self, token: str | None, user: str, password: str) -> Identity | None:
        if token is not None:
            is_right = self._token is not None and is_same(token, self._token)
            return Identity(None, "operator") if is_right else None
        found = self._users.find(user, password) if self._users is not None else None
        return Identity(found.name, found.role, found.password_hash) if found is not None else None

    def _basic_identity(self, credentials: str, address: str) -> Identity | None:
        """By name and password, or by the token as password of whatever name."""
        key = hmac.digest(self._basic_key, credentials.encode("utf-8", "replace"), hashlib.sha256)
        identity, until = self._basic.get(key, (None, 0.0))
        if identity is not None and time.monotonic() < until:
            return identity if self._is_still_known(identity) else None
        try:
            user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if self._token is not None and is_same(password, self._token):
            identity = self.log_in(address, token=password)
        else:
            identity = self.log_in(address, user=user, password=password)
        if identity is not None:
            if len(self._basic) >= _MOST_BASIC:
                self._basic.clear()
            self._basic[key] = identity, time.monotonic() + BASIC_SECONDS
        return identity
