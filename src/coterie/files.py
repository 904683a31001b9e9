"""A node's files: atomic and durable writes, bounded reads, one writer per folder, CoterieErrors.

Everything written by this module is durable when the call returns: first the file, then the folder
that names it (fsync(2)). A folder has one writer at a time. A kernel lock (flock(2)) ensures that;
it ends with its process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from coterie.errors import EnvironmentUnfit, OutputInUse, reason

Told = TypeVar("Told")
LOCK = ".lock"
# A process that was asked to end, or whose parent was killed, keeps its lock for a moment.
PATIENCE_SECONDS = 3.0
_ASK_SECONDS = 0.05
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_log = logging.getLogger(__name__)


# --- writing -------------------------------------------------------------------------------------


def write_whole(path: Path, octets: bytes) -> None:
    """Writes a file atomically, in place of an existing one; durable on return.

    Raises:
        OSError: It cannot be written; an existing file is unchanged.
    """
    with written_aside(path) as file:
        file.write(octets)


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file, which is renamed to ``path`` durably if the context ends well.

    Raises:
        OSError: It cannot be written; nothing is left beside ``path`` then.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            sync(file)
        move_over(partial, path)
    except BaseException:
        try:
            partial.unlink(missing_ok=True)
        except OSError:  # the earlier error is more important
            _log.info("%s is left behind", partial)
        raise
    sync_folder(path.parent)


def write_new(path: Path, octets: bytes, *, mode: int = 0o666) -> None:
    """Writes a file where none is; durable on return.

    Args:
        path: The file; never overwritten, and never followed if it is a link.
        octets: Its content.
        mode: Its mode, before the process's umask.

    Raises:
        FileExistsError: The path exists.
        OSError: It cannot be written; no file is left.
    """
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            sync(file)
        sync_folder(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)  # it is this process's own incomplete file
        raise


@contextmanager
def made_new(path: Path) -> Iterator[Path]:
    """Gives a path for a new file or folder, which is renamed durably if the context ends well.

    The path lies in a hidden folder beside ``path`` and has the same name. Nothing is left of that folder.

    Raises:
        FileExistsError: Something has the name of ``path``.
        OSError: It cannot be made.
    """
    make_folder(path.parent)
    named = False
    try:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as hidden:
            aside = Path(hidden, path.name)
            yield aside
            _sync_all(aside)
            move_new(aside, path)
            named = True
        sync_folder(path.parent)
    except BaseException:
        if named:  # it is this process's, and its name may not be durable
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _sync_all(path: Path) -> None:
    """Makes a file, or a folder with its content, durable."""
    if path.is_dir():
        for inside in path.iterdir():
            _sync_all(inside)
        sync_folder(path)
        return
    with path.open("rb") as file:
        sync(file)


def copy_whole(source: Path, target: Path) -> None:
    """Copies a file atomically; durable on return.

    Raises:
        OSError: It cannot be read or written.
    """
    with source.open("rb") as original, written_aside(target) as copy:
        shutil.copyfileobj(original, copy)


def link_or_copy(source: Path, target: Path) -> None:
    """Links a file that does not change any more, or copies it, atomically; durable on return.

    Raises:
        OSError: It cannot be read or written.
    """
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(source)
    except OSError:  # not every file system has links
        copy_whole(source, target)
        return
    move_over(partial, target)
    sync_folder(target.parent)


def move_over(aside: Path, path: Path) -> None:
    """Renames a complete file, in place of an existing one. Durable once the folder is synced.

    Raises:
        OSError: It cannot be moved.
    """
    aside.rename(path)


def move_new(aside: Path, path: Path) -> None:
    """Gives a whole file or folder its name, where nothing has it: of two that come at once, one gets it.

    Raises:
        FileExistsError: Something has its name.
        OSError: It cannot be moved.
    """
    try:
        if aside.is_dir():
            aside.rename(path)  # never onto a folder that holds anything
            return
        path.hardlink_to(aside)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        if error.errno not in _NO_LINKS or path.exists():
            raise
        aside.rename(path)  # not every file system has links
        return
    with suppress(OSError):  # a second name of what is whole does no harm
        aside.unlink()


def sync(file: BinaryIO | int) -> None:
    """Makes the content of an open file or descriptor durable.

    Raises:
        OSError: It cannot be written.
    """
    if isinstance(file, int):
        os.fsync(file)
        return
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable.

    Raises:
        OSError: It cannot be read, or not be synced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it that are not there, durably.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        sync_folder(made.parent)


# --- reading -------------------------------------------------------------------------------------


def read_bounded(path: Path, most: int) -> bytes:
    """Reads a small file.

    Args:
        path: The file.
        most: Largest size in bytes. Of a larger file the first ``most + 1`` bytes are returned, so
            that the decoder can refuse it.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return file.read(most + 1)


# --- errors --------------------------------------------------------------------------------------


def unwritable(what: str, error: OSError) -> EnvironmentUnfit:
    """The error of something that cannot be written, for any reason."""
    return EnvironmentUnfit(
        f"{what} cannot be written",
        expected="a writable folder with room",
        seen=reason(error),
        remedy="make room, mend the folder, or name another place; then run the same command again",
    )


def unreadable(what: str, error: OSError) -> EnvironmentUnfit:
    """The error of an existing file that cannot be read."""
    return EnvironmentUnfit(
        f"{what} cannot be read",
        expected="a file that this user may read, on a disk without faults",
        seen=reason(error),
        remedy="mend the disk or the folder's owner, then start the same command again",
    )


def machine_error(what: str, error: OSError) -> EnvironmentUnfit:
    """The error of the machine for a file, folder or device, which it names.

    Args:
        what: What failed because of it.
        error: The system's error.
    """
    place = f"{error.filename}: " if error.filename else ""
    return EnvironmentUnfit(
        what,
        expected="files and folders that can be read and written, and room for them",
        seen=f"{place}{reason(error)}",
        remedy="make room, or correct the file, its folder or their owner; then run the same "
        "command again",
    )


@contextmanager
def writing(what: str | Path) -> Iterator[None]:
    """Converts errors of the disk to CoterieErrors. Only files may be used inside.

    Raises:
        EnvironmentUnfit: Something could not be written.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(str(what), error) from error


@contextmanager
def reading(what: str | Path) -> Iterator[None]:
    """Converts errors of the disk to CoterieErrors. Only files may be used inside.

    Raises:
        EnvironmentUnfit: Something could not be read.
    """
    try:
        yield
    except OSError as error:
        raise unreadable(str(what), error) from error


# --- one writer ----------------------------------------------------------------------------------


@contextmanager
def only_writer(folder: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Locks a folder for this process, and makes it if absent. The end of the process unlocks it.

    Args:
        folder: The folder. Its file ``.lock`` stays; its existence has no meaning.
        patience_seconds: How long to wait for another process, which may be ending.

    Raises:
        OutputInUse: Somebody else holds it.
        EnvironmentUnfit: The folder cannot be made or written.
    """
    with writing(f"the folder {folder}"):
        make_folder(folder)
        descriptor = os.open(
            folder / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
    try:
        hold(descriptor, folder, patience_seconds=patience_seconds)
        yield
    finally:
        os.close(descriptor)


def hold(descriptor: int, path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Locks an open file until it is closed; ``path`` is the name of what it guards.

    If a file system or an enclave's library OS has no such locks, that is logged, and the operator
    must ensure that no other process writes there.

    Raises:
        OutputInUse: Somebody else holds it.
    """
    if not _held_within(patience_seconds, lambda: _try(descriptor, path)):
        raise OutputInUse(
            f"{path} is in use by another process",
            expected="no other process",
            seen="one that is running",
            remedy="let that one go on, or end it first; for another run or node name another "
            "place (--out, --log)",
        )


def _held_within(seconds: float, attempt: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_ASK_SECONDS)
    return True


def _try(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise unwritable(f"the lock of {path}", error) from error
        _log.warning("%s cannot be locked (%s): see that nobody else uses it", path, reason(error))
    return True


# --- telling -------------------------------------------------------------------------------------


def unhindered(
    sink: Callable[[Told], None], what: str, once_broken: Callable[[], None] = lambda: None
) -> Callable[[Told], None]:
    """A sink that passes events to another one until that cannot write any more.

    Args:
        sink: The other sink.
        what: Its name, for standard error.
        once_broken: Called when it cannot write any more.
    """
    broken = threading.Event()

    def tell(said: Told) -> None:
        if broken.is_set():
            return
        try:
            sink(said)
        except OSError as error:
            broken.set()
            once_broken()
            say_unwritten(what, error)

    return tell


def say_unwritten(what: str, error: OSError) -> None:
    """Reports on standard error, if possible, that something is no longer written."""
    with suppress(OSError, ValueError):
        sys.stderr.write(
            f"{what} cannot be written ({reason(error)}): what happens is not told there; "
            "the work goes on\n"
        )
        sys.stderr.flush()


def silence_output() -> None:
    """Discards further output; otherwise Python would report an error again at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
