"""Walks a folder that anyone filled: every file once, links followed where they lead to no circle, nothing opened.

What cannot be taken for a file (a link that leads nowhere, a socket) is listed with its reason, and a folder that may
not be read is named: labels may lie in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HIDDEN_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
_HIDDEN_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"}


@dataclass(frozen=True)
class FolderFile:
    """A file of the folder."""

    path: str
    """Relative to the folder, its parts joined by slashes."""
    real: Path
    """Where to read it."""


@dataclass
class FolderListing:
    """What a folder holds."""

    files: list[FolderFile] = field(default_factory=list)
    """In order of path."""
    no_files: dict[str, str] = field(default_factory=dict)
    """Why an entry is no file that could be read, by its path."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that may not be read, with the system's reason; their files are unknown."""
    links: list[str] = field(default_factory=list)
    """Links to folders that were followed, with where they lead."""


def is_hidden(path: str) -> bool:
    """Whether a path is a system's own file, or below a hidden folder: `.git/`, `__MACOSX/`, `Thumbs.db`."""
    *folders, name = path.split("/")
    return (
        any(part.startswith(".") or part.casefold() in _HIDDEN_FOLDERS for part in folders)
        or name.startswith(".")
        or name.casefold() in _HIDDEN_FILES
    )


def list_folder(folder: Path) -> FolderListing:
    """Lists a folder, at any depth.

    A link to a folder is followed unless it leads to a folder above itself, or to one that a link led to before.
    """
    listing = FolderListing()
    followed: set[str] = set()
    root = os.path.realpath(folder)
    pending = [("", str(folder), (root, *_above(root)), False)]
    while pending:
        path, real, chain, linked = pending.pop()
        try:
            with os.scandir(real) as entries:
                ordered = sorted(entries, key=lambda e: e.name)
        except OSError as error:
            if not is_hidden(f"{path}/x"):
                listing.unreadable.append(f"{path or '.'} ({error.strerror})")
            continue
        for entry in ordered:
            below = f"{path}/{entry.name}" if path else entry.name
            match _kind(entry):
                case "file":
                    listing.files.append(FolderFile(below, Path(entry.path)))
                case "folder":
                    target = os.path.realpath(entry.path)
                    is_link = entry.is_symlink()
                    if (is_link or linked) and target in followed:
                        listing.no_files[below] = "a link to a folder that was read already"
                    elif target in chain:
                        listing.no_files[below] = "a link that leads back to a folder above"
                    else:
                        if is_link or linked:
                            followed.add(target)
                        if is_link:
                            listing.links.append(f"{below} leads to {target}")
                        pending.append((below, entry.path, (target, *chain), is_link or linked))
                case reason:
                    listing.no_files[below] = reason
    listing.files.sort(key=lambda file: file.path)
    return listing


def _above(folder: str) -> Iterator[str]:
    while (parent := os.path.dirname(folder)) != folder:
        folder = parent
        yield folder


def _kind(entry: os.DirEntry[str]) -> str:
    """file, folder, or why it is neither."""
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "a link that leads nowhere" if entry.is_symlink() else "it was removed meanwhile"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "neither a file nor a folder"
