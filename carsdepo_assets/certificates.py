"""The certificates that this machine trusts, for whoever asks a server by HTTP."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def trusted() -> ssl.SSLContext:
    """As httpx makes it for every request without a client: reading the files takes longer than a local answer."""
    import httpx

    return httpx.create_ssl_context()
