"""Who may come in by name: a file with one user a line, whose passwords are hashed.

# NAME:ROLE:HASH, made by rcnn-live users add
anna:operator:$argon2id$v=19$m=65536,t=3,p=4$…
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from stream.errors import UsageError

logger = logging.getLogger(__name__)

Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
SHORTEST_PASSWORD, LONGEST_PASSWORD = 8, 1024  # characters
_NAME = re.compile(r"[A-Za-z0-9][\w.@-]{0,63}")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

# One at a time: a hash takes 64 MB, and guessing must not take the pipeline's memory
_hashing = threading.Lock()
_hasher = PasswordHasher()


@dataclass(frozen=True, slots=True)
class User:
    """One line of the file."""

    name: str
    role: Role
    password_hash: str


class Users:
    """The users of a file, which is read again whenever it has changed.

    Args:
        path: of the file.

    Raises:
        UsageError: if it cannot be read, a line of it is wrong, or it names nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # what a name that is not there is compared with, so that it takes as long
        self._nobody = User("", "viewer", _hasher.hash(os.urandom(16).hex()))
        self._signature = _signature(path)
        self._users = read_users(path)
        if not self._users:
            raise UsageError(f"--users {path} names nobody: add one with 'rcnn-live users add'.")

    def find(self, name: str, password: str) -> User | None:
        """The user of that name if that is the password, else None; takes about 50 ms."""
        user = self._current().get(name, self._nobody)
        try:
            with _hashing:
                _hasher.verify(user.password_hash, password[:LONGEST_PASSWORD])
        except VerificationError:
            return None
        return None if user is self._nobody else user

    def holds(self, user: User) -> bool:
        """Whether there still is that user, with that role and password."""
        return self._current().get(user.name) == user

    def _current(self) -> dict[str, User]:
        signature = _signature(self._path)
        if signature != self._signature:
            self._signature = signature
            try:
                self._users = read_users(self._path)
            except UsageError as error:
                self._users = {}
                logger.warning("Nobody can log in by name until that is mended: %s", error)
        return self._users


def read_users(path: Path) -> dict[str, User]:
    """The users of a file, by name.

    Raises:
        UsageError: if it cannot be read or a line of it is wrong.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(
            f"--users {path} cannot be read: {reason}; make it with 'rcnn-live users add'."
        ) from error
    if os.name == "posix" and mode & _WRITABLE_BY_OTHERS:
        raise UsageError(
            f"--users {path} can be changed by others than its owner: chmod 600 {path}"
        )
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            user = _parsed(line.strip(), f"--users {path} line {number}")
            users[user.name] = user
    return users


def add_user(path: Path, name: str, role: Role, password: str) -> bool:
    """Write a user into the file, in place of an older one of that name.

    Returns:
        whether there was an older one.

    Raises:
        UsageError: if the name or the password is not allowed, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The name {name!r} is not allowed: letters, digits, dot, hyphen, underscore and @ "
            "are, 64 at most."
        )
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UsageError(
            f"The password has {len(password)} characters: give it {SHORTEST_PASSWORD} to "
            f"{LONGEST_PASSWORD}."
        )
    users = read_users(path) if path.exists() else {}
    was_there = name in users
    users[name] = User(name, role, _hasher.hash(password))
    _write(path, users)
    return was_there


def remove_user(path: Path, name: str) -> None:
    """Take a user out of the file.

    Raises:
        UsageError: if there is no such user, or the file cannot be written.
    """
    users = read_users(path)
    if users.pop(name, None) is None:
        there = ", ".join(users) or "none"
        raise UsageError(f"There is no user {name!r} in {path}: there are {there}.")
    _write(path, users)


def _write(path: Path, users: dict[str, User]) -> None:
    """As a whole, so that a server that looks at it meanwhile sees the old or the new one."""
    lines = [f"{user.name}:{user.role}:{user.password_hash}\n" for user in users.values()]
    new = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.writelines(lines)
        new.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def _parsed(line: str, where: str) -> User:
    name, role, password_hash = [*line.split(":", 2), "", ""][:3]
    if role not in ROLES or not _NAME.fullmatch(name):
        raise UsageError(f"{where} has to be NAME:ROLE:HASH with a role of {' or '.join(ROLES)}.")
    try:
        _hasher.check_needs_rehash(password_hash)
    except InvalidHashError as error:
        raise UsageError(
            f"{where} has no hash of a password: make it with 'rcnn-live users add {name}'."
        ) from error
    return User(name, role, password_hash)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
