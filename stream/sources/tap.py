"""Where the packets of a source go, beside its decoder."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from av.packet import Packet
from av.stream import Stream

_connections = itertools.count()


def new_connection() -> int:
    """A number that no other connection of this process has, of whatever source."""
    return next(_connections)


class PacketTaker(ABC):
    """Takes the packets of one connection, on the thread that reads it."""

    @abstractmethod
    def take(self, packet: Packet[Stream]) -> None:
        """Take one packet, before it is decoded. It is only lent; raises nothing."""

    @abstractmethod
    def end(self) -> None:
        """No more will come from this connection. Returns at once; raises nothing."""


class PacketTap(ABC):
    """Is told of every connection of a source, of several one after the other.

    Attributes:
        option: that asks for packets, to be named where a source has none; None if it is no
            trouble that there are none.
        takes_encoded: whether packets will do that are made of the frames, where a source has none.
    """

    option: str | None = None
    takes_encoded: bool = False

    @abstractmethod
    def begin(self, streams: Sequence[Stream], *, is_live: bool, connection: int) -> PacketTaker:
        """A connection was opened; its packets go to what is returned. Raises nothing.

        Args:
            streams: the video, and the sound where there is any; valid during the call only.
            is_live: whether packets are lost unless they are read at the pace they come.
            connection: its number, as in the ``source_time`` of the frames that come over it.
        """


def joined(taps: Iterable[PacketTap | None]) -> PacketTap | None:
    """One tap for all of them that there are; None if there is none."""
    found = [tap for tap in taps if tap is not None]
    return _Joined(found) if len(found) > 1 else next(iter(found), None)


class _Joined(PacketTap):
    """Several taps; each gets every packet."""

    def __init__(self, taps: Sequence[PacketTap]) -> None:
        self._taps = taps
        asking = [tap for tap in taps if tap.option is not None]
        self.option = next((tap.option for tap in asking), None)
        self.takes_encoded = all(tap.takes_encoded for tap in asking)

    def begin(self, streams: Sequence[Stream], *, is_live: bool, connection: int) -> PacketTaker:
        takers = [tap.begin(streams, is_live=is_live, connection=connection) for tap in self._taps]
        return _JoinedTaker(takers)


class _JoinedTaker(PacketTaker):
    def __init__(self, takers: Sequence[PacketTaker]) -> None:
        self._takers = takers

    def take(self, packet: Packet[Stream]) -> None:
        for taker in self._takers:
            taker.take(packet)

    def end(self) -> None:
        for taker in self._takers:
            taker.end()
