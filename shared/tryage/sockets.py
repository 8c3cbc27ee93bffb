"""The socket that a server of ours listens on, or in words why it cannot."""

from __future__ import annotations

import socket

from tryage.errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, so that a page that is opened too early waits.

    Raises:
        InputError: the port is in use, or the address is none of this computer.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"Nothing can listen at {host} on port {port}: {error}. Take another --port, or 0 for "
            "any free one."
        ) from error
