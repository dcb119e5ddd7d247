"""The live page for the length of a block. It imports web libraries only where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.control.controls import Controls
from stream.web.options import check_libraries
from stream.web.settings import ServeSettings


@contextmanager
def showing_page(
    settings: ServeSettings | None, controls: Controls | None, notice: Callable[[str], None]
) -> Iterator[None]:
    """Serve it, if it was asked for.

    Args:
        settings: where, and to whom; None for not at all.
        controls: of the cameras; None only if it was not asked for.
        notice: told the address.

    Raises:
        UsageError: if the address is taken, or something that is needed for it is not there.
    """
    if settings is None or controls is None:
        yield
        return
    check_libraries()
    from stream.web.server import PageServer

    with PageServer(settings, controls) as server:
        notice(f"Live page at {server.url}")
        if not settings.is_loopback and settings.tls_cert is None:
            notice("It is not encrypted: whoever is on the way can read pictures and passwords.")
        yield
