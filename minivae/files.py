"""Writing files so that a program that is killed, or a full disk, never leaves half a file."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from .errors import FileError

UNFINISHED = ".minivae-unfinished-"  # how the names of temporary folders begin
ABANDONED = 3600  # seconds after which a temporary folder is certainly no longer in use


def write_atomically(path, content):
    """Replace the file by these bytes -> its path. A FileError leaves the file as it was.

    The bytes go to a temporary file, are flushed to the disk, and then take the name. At any moment
    the file is whole: the old one or the new one.
    """
    path = Path(path)
    try:
        with temporary_folder(path.parent) as folder:
            with open(folder / path.name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(folder / path.name, path)
        return path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} cannot be written: {reason}") from error


@contextlib.contextmanager
def temporary_folder(parent):
    """A folder in `parent`, for what is not finished; it is removed at the end.

    A process that is killed leaves it there. Such folders are removed when they are an hour old.
    """
    for abandoned in Path(parent).glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - abandoned.stat().st_mtime > ABANDONED:
                shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(dir=parent, prefix=UNFINISHED) as folder:
        yield Path(folder)
