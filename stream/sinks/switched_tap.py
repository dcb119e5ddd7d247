"""A source's packets for whichever recording is made at the moment."""

from __future__ import annotations

from collections.abc import Sequence

from av.packet import Packet
from av.stream import Stream

from stream.sources.tap import PacketTaker, PacketTap


class SwitchedTap(PacketTap):
    """Passes packets on to another tap, which may change at any time.

    Attributes:
        target: gets the packets that come from now on; None for nobody. Any thread may set it.
    """

    def __init__(self) -> None:
        self.target: PacketTap | None = None
        self._takers: dict[int, _SwitchedTaker] = {}  # of open connections

    def begin(self, streams: Sequence[Stream], *, is_live: bool, connection: int) -> PacketTaker:
        made = _SwitchedTaker(self, streams, is_live=is_live, connection=connection)
        self._takers[connection] = made
        return made

    def is_told(self, connection: int) -> bool:
        """Whether the target knows of a connection, if there is any to be told of.

        It is told when the connection's next packet is read. From any thread.
        """
        taker = self._takers.get(connection)
        return taker is None or taker.target is self.target

    def forget(self, connection: int) -> None:
        """A connection has ended."""
        self._takers.pop(connection, None)


class _SwitchedTaker(PacketTaker):
    """Begins one connection anew for each target.

    It keeps the streams, and looks at them only while it is called: the reader's thread has them
    open until it has called ``end``.

    Attributes:
        target: that was told of the connection.
    """

    def __init__(
        self, switch: SwitchedTap, streams: Sequence[Stream], *, is_live: bool, connection: int
    ) -> None:
        self._switch, self._streams = switch, streams
        self._is_live, self._connection = is_live, connection
        self.target: PacketTap | None = None
        self._taker: PacketTaker | None = None
        self._follow()

    def take(self, packet: Packet[Stream]) -> None:
        self._follow()
        if self._taker is not None:
            self._taker.take(packet)

    def end(self) -> None:
        self._streams = ()
        self._switch.forget(self._connection)
        if self._taker is not None:
            self._taker.end()

    def _follow(self) -> None:
        target = self._switch.target
        if target is self.target:
            return
        before, self._taker = self._taker, None
        if before is not None:
            before.end()
        if target is not None:
            self._taker = target.begin(
                self._streams, is_live=self._is_live, connection=self._connection
            )
        self.target = target
