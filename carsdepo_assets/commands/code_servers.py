"""Finds code servers of `dagster dev` that have died, and has them started again.

`dagster dev` starts a proxy for the code location (`dagster code-server start`), and that starts the code server proper
(`dagster api grpc`), which evaluates sensors and starts runs. `dagster dev` replaces a proxy that died. A proxy
does not notice that its code server died: no sensor ticks and no run starts until a person presses Reload. Ending the
proxy too makes `dagster dev` start both again, in seconds.
"""

from __future__ import annotations

import time

import psutil

_PROXY, _SERVER = ("code-server", "start"), ("api", "grpc")
_START_S = 60.0  # a proxy this young may still be about to start its code server


def proxies(dagster_dev: int) -> list[psutil.Process]:
    """The proxies that a `dagster dev` (its process id) has started."""
    return [p for p in _children(dagster_dev) if _runs(p, _PROXY)]


def code_servers(proxy: psutil.Process) -> list[psutil.Process]:
    """The living code servers of a proxy."""
    return [p for p in _children(proxy.pid) if _runs(p, _SERVER)]


def restart_dead_code_servers(dagster_dev: int) -> list[int]:
    """Ends each proxy that has lost its code server, so that `dagster dev` starts both again; returns their ids."""
    ended = []
    for proxy in proxies(dagster_dev):
        try:
            lost = not code_servers(proxy) and time.time() - proxy.create_time() > _START_S
            if lost and proxy.is_running():
                proxy.kill()
                ended.append(proxy.pid)
        except psutil.NoSuchProcess:
            continue
    return ended


def _children(pid: int) -> list[psutil.Process]:
    try:
        return [p for p in psutil.Process(pid).children() if p.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def _runs(process: psutil.Process, words: tuple[str, str]) -> bool:
    """Whether the process was started as `dagster` with these two arguments."""
    try:
        line = process.cmdline()
    except psutil.Error:
        return False
    return any(tuple(line[i : i + 2]) == words for i in range(len(line) - 1))
