"""What the name of a file says of it, or its first bytes: photographs, and what is nothing for an import."""

from __future__ import annotations

from pathlib import PurePosixPath

from carsdepo_assets.data.folders.class_names import may_hold_names
from carsdepo_assets.data.folders.file_contents import SUFFIXES
from carsdepo_assets.data.folders.folder_files import is_hidden
from carsdepo_assets.data.folders.layout_names import is_for_masks
from carsdepo_assets.data.imports.layouts import FileKind, FileUse
from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES
from carsdepo_assets.imaging.headers import sniff

_BACKUPS = (".bak", ".orig", ".swp", ".old", "~")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_UNFINISHED = (".part", ".tmp", ".crdownload", ".download", ".filepart")


def decided_by_name(use: FileUse) -> bool:
    """Decides what a file is taken for, where its name says it, or else its first bytes.

    Args:
        use: the file; what it is taken for, or why it is not used, is set.

    Returns:
        False where its whole content is to be looked at.
    """
    path = PurePosixPath(use.path)
    lower, suffix = path.name.casefold(), path.suffix.lower()
    if is_hidden(use.path):
        use.reason = "hidden, or a system's own file"
    elif lower.endswith(_UNFINISHED):
        use.reason = "an unfinished copy or download"
    elif lower.endswith(_BACKUPS) or lower.startswith("~$"):
        use.reason = "a backup"
    elif lower.endswith(_ARCHIVES):
        use.set_aside("an archive, which is not looked into: unpack it, or import it by itself", refused=True)
    elif suffix in PHOTOGRAPH_SUFFIXES and any(is_for_masks(folder) for folder in path.parts[:-1]):
        use.reason = "a mask, by its folder"
    elif suffix in PHOTOGRAPH_SUFFIXES:
        use.kind = FileKind.PHOTOGRAPH
    elif suffix in SUFFIXES or suffix == ".csv" or may_hold_names(use.path):
        return False
    else:
        _by_first_bytes(use)
    return True


def _by_first_bytes(use: FileUse) -> None:
    try:
        with use.real.open("rb") as stream:
            is_picture = sniff(stream.read(32)) is not None
    except OSError as error:
        use.set_aside("cannot be read", str(error.strerror), refused=True)
        return
    if is_picture:
        use.kind = FileKind.PHOTOGRAPH
        return
    suffix = PurePosixPath(use.path).suffix.lower()
    use.reason = f"neither a photograph nor labels: {suffix or 'no suffix'}"
