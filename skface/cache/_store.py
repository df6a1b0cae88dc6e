"""The store behind a cache: one SQLite database that threads and processes share."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from skface._rows import FileSignature
from skface.exceptions import CacheError, StoreFullError

_APPLICATION_ID = 0x736B6661  # "skfa", which marks the file as ours
_VERSION = 2  # of the tables below
_BUSY_SECONDS = 60.0
_DELETE = "delete it, with its -wal and -shm beside it"
_AT_A_TIME = 500  # parameters of one statement; SQLite takes 999 wherever it runs

_TABLES = """
CREATE TABLE vectors (
    transformer BLOB NOT NULL, photo BLOB NOT NULL,
    dtype TEXT NOT NULL, shape TEXT NOT NULL, value BLOB NOT NULL,
    used INTEGER NOT NULL,
    UNIQUE (transformer, photo)
);
CREATE INDEX vectors_by_use ON vectors (used);
CREATE TABLE files (
    path BLOB PRIMARY KEY,
    mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL, inode INTEGER NOT NULL,
    photo BLOB NOT NULL
) WITHOUT ROWID;
"""


class Store:
    """Vectors by transformer and photo, and digests of files.

    Every method is a transaction, so a process that is killed leaves the store as it was before or
    after it. Threads may share a store; forked processes open the file anew.

    Parameters
    ----------
    path : Path
        The database; it is created, with its folder, when it is first used.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None  # process, and inode of the file
        self._left_behind: list[sqlite3.Connection] = []

    def refresh(self) -> bool:
        """Open the file unless it is open; tell whether it is another one than before."""
        with self._lock:
            try:
                opened = (os.getpid(), os.stat(self.path).st_ino)
            except OSError:
                opened = None
            if opened is not None and opened == self._opened:
                return False
            if self._connection is not None:
                if self._opened[0] == os.getpid():
                    self._connection.close()
                else:  # SQLite forbids to touch what was opened before a fork
                    self._left_behind.append(self._connection)
            self._connection = None
            self._connection = self._open()
            self._opened = (os.getpid(), os.stat(self.path).st_ino)
            return True

    def read(self, transformer: bytes, photos: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Return the vectors that are stored, by photo, and note that they were used."""
        with self._transaction() as connection:
            found = _select(connection, transformer, photos)
        if found:
            self.touch(transformer, found, _now())
        return found

    def touch(self, transformer: bytes, photos: Iterable[bytes], used: int) -> None:
        """Note that vectors were used, unless the disk is full."""
        try:
            with self._transaction(writes=True) as connection:
                connection.executemany(
                    "UPDATE vectors SET used = ? WHERE transformer = ? AND photo = ?",
                    ((used, transformer, photo) for photo in photos),
                )
        except StoreFullError:
            pass  # of no consequence but for what is dropped first

    def write(
        self, transformer: bytes, vectors: dict[bytes, np.ndarray], max_bytes: int | None = None
    ) -> bool:
        """Store vectors by photo, and make room if there is a bound.

        Returns
        -------
        bool
            Whether all were new. A vector that is stored already stays.
        """
        now = _now()
        rows = (
            (
                transformer,
                photo,
                value.dtype.str,
                ",".join(map(str, value.shape)),
                value.tobytes(),
                now,
            )
            for photo, value in vectors.items()
        )
        with self._transaction(writes=True) as connection:
            added = connection.executemany(
                "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            are_new = not vectors or added.rowcount == len(vectors)
            made_room = max_bytes is not None and _make_room(connection, max_bytes)
        if made_room:
            self._shrink()
        return are_new

    def read_files(self, paths: Sequence[bytes]) -> dict[bytes, tuple[FileSignature, bytes]]:
        """Return stamps and photos of the files that are known, by path."""
        known = {}
        with self._transaction() as connection:
            for some in _slices(paths):
                for path, *stamp, photo in connection.execute(
                    "SELECT path, mtime_ns, ctime_ns, size, inode, photo FROM files "
                    f"WHERE path IN ({_marks(some)})",
                    some,
                ):
                    known[path] = tuple(stamp), photo
        return known

    def write_files(self, known: dict[bytes, tuple[FileSignature, bytes]]) -> None:
        """Store stamps and photos of files by path."""
        with self._transaction(writes=True) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                ((path, *stamp, photo) for path, (stamp, photo) in known.items()),
            )

    def count(self) -> tuple[int, int, int]:
        """Count vectors, transformers and bytes of the file that are in use."""
        with self._transaction() as connection:
            n_vectors, n_transformers = connection.execute(
                "SELECT count(*), count(DISTINCT transformer) FROM vectors"
            ).fetchone()
            return n_vectors, n_transformers, _bytes_in_use(connection)

    def clear(self) -> None:
        """Drop everything, and give the space back."""
        with self._transaction(writes=True) as connection:
            for table in ("vectors", "files"):
                connection.execute(f"DELETE FROM {table}")
        self._shrink()

    def _shrink(self) -> None:
        """Give free pages back to the disk."""
        with self._lock, self._explained():
            # as a script, because `execute` would stop after the first page
            self._connection.executescript("PRAGMA incremental_vacuum;")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            if self._connection is None or self._opened[0] != os.getpid():
                self.refresh()
            # a transaction that is to write says so at once, or it could not wait for others
            self._connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
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
        """Create the tables of a new file; refuse the file of somebody else."""
        if _is_empty(connection):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _set_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            if _is_empty(connection):  # nobody was faster
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
        connection.execute("BEGIN IMMEDIATE")  # which shows whether it can be written
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
    """Return the time in milliseconds, which processes share."""
    return time.time_ns() // 1_000_000


def _marks(items: Sequence) -> str:
    return ",".join("?" * len(items))


def _slices(items: Sequence) -> Iterator[Sequence]:
    return (items[start : start + _AT_A_TIME] for start in range(0, len(items), _AT_A_TIME))


def _select(
    connection: sqlite3.Connection, transformer: bytes, photos: Sequence[bytes]
) -> dict[bytes, np.ndarray]:
    found = {}
    for some in _slices(photos):
        for photo, dtype, shape, value in connection.execute(
            "SELECT photo, dtype, shape, value FROM vectors WHERE transformer = ? "
            f"AND photo IN ({_marks(some)})",
            (transformer, *some),
        ):
            sides = [int(side) for side in shape.split(",") if side]
            found[photo] = np.frombuffer(value, dtype=dtype).reshape(sides)
    return found


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    n_pages, n_free, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (n_pages - n_free) * page_bytes


def _make_room(connection: sqlite3.Connection, max_bytes: int) -> bool:
    """Delete what was not used for longest until the rest fits; tell whether that was needed."""
    is_needed = _bytes_in_use(connection) > max_bytes
    while (excess := _bytes_in_use(connection) - max_bytes) > 0:
        (n_vectors,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
        if not n_vectors:
            break
        share = excess / _bytes_in_use(connection)
        connection.execute(
            "DELETE FROM vectors WHERE rowid IN "
            "(SELECT rowid FROM vectors ORDER BY used, rowid LIMIT ?)",
            (int(np.ceil(n_vectors * share)),),
        )
        connection.execute("DELETE FROM files WHERE photo NOT IN (SELECT photo FROM vectors)")
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
