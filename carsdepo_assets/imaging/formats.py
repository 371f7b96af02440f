"""The names that files with photographs have."""

from __future__ import annotations

PHOTOGRAPH_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"),
        *(".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".hif"),
    }
)
"""In small letters. What a file is, its first bytes say; by these, files with photographs are told from others."""
