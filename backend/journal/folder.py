"""The folder of the store: how much room its disk has, and whether it is on another machine."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path, PurePath
from typing import Final

# On these file systems processes of two machines share no memory: in WAL mode they would spoil a file.
_NETWORKS: Final = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ncpfs|webdav|davfs2?|ceph|lustre|gfs2?|ocfs2|beegfs|glusterfs|virtiofs"
    r"|fuse\.(?!portal|gvfsd|lxcfs).*"
)
_MOUNTS: Final = Path("/proc/self/mounts")
_DRIVE_REMOTE: Final = 4


def free_bytes(folder: Path) -> int:
    """What is free on the folder's disk; very much if the system cannot tell."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 1 << 60


def on_network(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether a folder is on a disk of another machine; no where the system does not tell. Never raises."""
    try:
        if sys.platform == "win32":  # pragma: no cover
            return _is_remote_drive(folder.absolute())
        return bool(_NETWORKS.fullmatch(_kind_of_mount(folder.resolve(), mounts.read_text("utf-8", "replace"))))
    except OSError:
        return False


def _kind_of_mount(folder: PurePath, mounts: str) -> str:
    """The kind of file system that a folder is on, by the lines of /proc/mounts; the last line that fits counts."""
    found, deepest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = PurePath(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        if folder.is_relative_to(place) and len(place.parts) >= deepest:
            found, deepest = fields[2], len(place.parts)
    return found


def _is_remote_drive(folder: Path) -> bool:  # pragma: no cover
    if folder.drive.startswith("\\\\"):
        return True
    import ctypes

    drive: int = ctypes.windll.kernel32.GetDriveTypeW(f"{folder.drive}{os.sep}")  # type: ignore[attr-defined, unused-ignore]
    return drive == _DRIVE_REMOTE
