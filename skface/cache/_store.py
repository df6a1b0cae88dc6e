"""The store behind a cache: one SQLite database that threads and processes share."""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from skface._rows import FileSignature
from skface.exceptions import CacheError, StoreFullError

_APPLICATION_ID = 0x736B6661  # "skfa", which marks the file as one of skface
_VERSION = 3  # of the tables below
_BUSY_SECONDS = 60.0
_DELETE = "delete it, with its -wal and -shm beside it"
_AT_A_TIME = 500  # parameters of one statement; SQLite takes 999 wherever it runs

_TABLES = """
CREATE TABLE image_values (
    transformer BLOB NOT NULL, image BLOB NOT NULL,
    dtype TEXT NOT NULL, shape TEXT NOT NULL, value BLOB NOT NULL,
    used INTEGER NOT NULL,
    UNIQUE (transformer, image)
);
CREATE INDEX image_values_by_use ON image_values (used);
CREATE TABLE files (
    path BLOB PRIMARY KEY,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL, inode INTEGER NOT NULL,
    image BLOB NOT NULL
) WITHOUT ROWID;
"""


class Store:
    """Values by transformer and image, and digests of files.

    Every method is a transaction, so a process that is killed leaves the file as it was before or
    after it. Threads may share a store, but processes may not: each opens its own.

    Parameters
    ----------
    path : Path
        The database; it is created, with its folder, when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._closing: weakref.finalize[..., Any] | None = None

    def refresh(self) -> bool:
        """Open the file if it is not open, or was replaced; return whether it was opened."""
        with self._lock:
            try:
                if self._connection is not None and os.stat(self.path).st_ino == self._inode:
                    return False
            except OSError:
                pass  # it was deleted
            if self._closing is not None:
                self._closing()
            self._connection = None  # if opening fails
            self._connection = self._open()
            self._inode = os.stat(self.path).st_ino
            # a connection that is only dropped is a ResourceWarning since Python 3.13
            self._closing = weakref.finalize(self, self._connection.close)
            self._closing.atexit = False
            return True

    def read(self, transformer: bytes, images: Sequence[bytes]) -> dict[bytes, NDArray[Any]]:
        """Return the stored values by image, and record that they were used."""
        with self._transaction() as connection:
            found = _select(connection, transformer, images)
        if found:
            self.touch(transformer, found, _now())
        return found

    def touch(self, transformer: bytes, images: Iterable[bytes], milliseconds: int) -> None:
        """Record when values were used, unless the disk is full."""
        try:
            with self._transaction(writes=True) as connection:
                connection.executemany(
                    "UPDATE image_values SET used = ? WHERE transformer = ? AND image = ?",
                    ((milliseconds, transformer, image) for image in images),
                )
        except StoreFullError:
            pass  # then another value may be dropped first

    def write(
        self,
        transformer: bytes,
        values: dict[bytes, NDArray[Any]],
        max_bytes: int | None = None,
    ) -> bool:
        """Store values by image, and drop the least recently used ones beyond a bound.

        Returns
        -------
        bool
            Whether all were new. A value that is stored already stays.
        """
        now = _now()
        rows = (
            (
                transformer,
                image,
                value.dtype.str,
                ",".join(map(str, value.shape)),
                value.tobytes(),
                now,
            )
            for image, value in values.items()
        )
        with self._transaction(writes=True) as connection:
            added = connection.executemany(
                "INSERT OR IGNORE INTO image_values VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            are_new = not values or added.rowcount == len(values)
            has_dropped = max_bytes is not None and _drop_beyond(connection, max_bytes)
        if has_dropped:
            self._shrink()
        return are_new

    def read_files(self, paths: Sequence[bytes]) -> dict[bytes, tuple[FileSignature, bytes]]:
        """Return the signatures and digests of known files, by path."""
        known = {}
        with self._transaction() as connection:
            for some in _slices(paths):
                for path, mtime_ns, ctime_ns, size, inode, image in connection.execute(
                    "SELECT path, mtime_ns, ctime_ns, size, inode, image FROM files "
                    f"WHERE path IN ({_marks(some)})",
                    some,
                ):
                    known[path] = (mtime_ns, ctime_ns, size, inode), image
        return known

    def write_files(self, known: dict[bytes, tuple[FileSignature, bytes]]) -> None:
        """Store signatures and digests of files by path."""
        with self._transaction(writes=True) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                ((path, *signature, image) for path, (signature, image) in known.items()),
            )

    def count(self) -> tuple[int, int, int]:
        """Count values, transformers and bytes of the file that are in use."""
        with self._transaction() as connection:
            n_values, n_transformers = connection.execute(
                "SELECT count(*), count(DISTINCT transformer) FROM image_values"
            ).fetchone()
            return n_values, n_transformers, _bytes_in_use(connection)

    def clear(self) -> None:
        """Delete everything, and give the space back."""
        with self._transaction(writes=True) as connection:
            for table in ("image_values", "files"):
                connection.execute(f"DELETE FROM {table}")
        self._shrink()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self.refresh()
        return cast(sqlite3.Connection, self._connection)

    def _shrink(self) -> None:
        """Give free pages back to the disk."""
        with self._lock, self._explained():
            connection = self._connected()
            # as a script, because `execute` would stop after the first page
            connection.executescript("PRAGMA incremental_vacuum;")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            connection = self._connected()
            # announced before it writes, or SQLite would not wait for other writers
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(
                f"cache={str(self.path.parent)!r} cannot be created ({error.strerror}): name a "
                "folder that you may write to."
            ) from error
        with self._explained():
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create the tables of a new file; refuse a file of another program or version."""
        if _is_empty(connection):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _set_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            if _is_empty(connection):  # no other process was faster
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION_ID:
            raise CacheError(
                f"{self.path} is a database of another program: name another folder as cache."
            )
        if version != _VERSION:
            raise CacheError(
                f"{self.path} was written by another version of skface (format {version}; this "
                f"one reads {_VERSION}): {_DELETE}, or name another folder as cache."
            )
        _set_wal(connection)
        # safe if a process dies; a power cut may cost the last batches, never the file
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")  # an error if it cannot be written
        connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of SQLite into ones that name the file and the way out."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise StoreFullError(
                    f"{self.path} cannot be written ({error}): free space on its disk."
                ) from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise CacheError(
                    f"{self.path} is broken, or no cache of skface ({error}): {_DELETE}, or name "
                    "another folder as cache."
                ) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise CacheError(
                    f"{self.path} was locked by another process for {_BUSY_SECONDS:g} s ({error}): "
                    "end it, or name another folder as cache."
                ) from error
            raise CacheError(
                f"{self.path} cannot be used ({error}): check that you may write to it and its "
                "folder, or name another folder as cache."
            ) from error


def _now() -> int:
    """Return the time in milliseconds since 1970, which is that of all processes."""
    return time.time_ns() // 1_000_000


def _marks(items: Sequence[bytes]) -> str:
    return ",".join("?" * len(items))


def _slices(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (items[start : start + _AT_A_TIME] for start in range(0, len(items), _AT_A_TIME))


def _select(
    connection: sqlite3.Connection, transformer: bytes, images: Sequence[bytes]
) -> dict[bytes, NDArray[Any]]:
    found = {}
    for some in _slices(images):
        for image, dtype, shape, value in connection.execute(
            "SELECT image, dtype, shape, value FROM image_values WHERE transformer = ? "
            f"AND image IN ({_marks(some)})",
            (transformer, *some),
        ):
            sides = [int(side) for side in shape.split(",") if side]
            found[image] = np.frombuffer(value, dtype=dtype).reshape(sides)
    return found


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    n_pages, n_free, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (n_pages - n_free) * page_bytes


def _drop_beyond(connection: sqlite3.Connection, max_bytes: int) -> bool:
    """Delete the least recently used values until the rest fits; return whether any were."""
    is_needed = _bytes_in_use(connection) > max_bytes
    while (excess := _bytes_in_use(connection) - max_bytes) > 0:
        (n_values,) = connection.execute("SELECT count(*) FROM image_values").fetchone()
        if not n_values:
            break
        share = excess / _bytes_in_use(connection)
        connection.execute(
            "DELETE FROM image_values WHERE rowid IN "
            "(SELECT rowid FROM image_values ORDER BY used, rowid LIMIT ?)",
            (int(np.ceil(n_values * share)),),
        )
        connection.execute("DELETE FROM files WHERE image NOT IN (SELECT image FROM image_values)")
    return is_needed


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def _set_wal(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log, for which SQLite does not wait by itself."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
