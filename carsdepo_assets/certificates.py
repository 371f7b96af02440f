"""The certificates that this machine trusts, for code that makes HTTP requests."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def trusted() -> ssl.SSLContext:
    """Returns httpx's default TLS context, made once.

    httpx makes one for each request without a client, and reading the certificates takes longer than a local answer.
    """
    import httpx

    return httpx.create_ssl_context()
