"""The goods, and what was promised of them, in one SQLite file.

Everything that must hold together is written in one SQLite transaction: the goods that a promise takes away, the promise
itself, and what was seen of the coordinator's log.

    branch state     prepare             commit              abort
    (unknown)        -> prepared         hazard              -> aborted (the fence)
    prepared         prepared            -> committed        -> aborted
    committed        refused             done                contrary
    aborted          refused             contrary            done

`forget` takes `committed` and `aborted` away.
"""

import json
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Optional

PREPARED, READ_ONLY, REFUSED = "prepared", "read-only", "refused"
COMMITTED, ABORTED = "committed", "aborted"
DONE, HAZARD, CONTRARY = "done", "hazard", "contrary"

SCHEMA = """
CREATE TABLE IF NOT EXISTS store (id BLOB NOT NULL, generation INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS goods (item TEXT PRIMARY KEY, free INTEGER NOT NULL CHECK (free >= 0));
CREATE TABLE IF NOT EXISTS sold (number INTEGER PRIMARY KEY, purchase TEXT NOT NULL, item TEXT NOT NULL, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS branches (
    log BLOB NOT NULL, txn BLOB NOT NULL, number INTEGER NOT NULL,
    state TEXT NOT NULL, purchase TEXT, item TEXT, count INTEGER,
    PRIMARY KEY (log, txn, number));
CREATE TABLE IF NOT EXISTS seen (log BLOB PRIMARY KEY, epoch INTEGER NOT NULL, lsn INTEGER NOT NULL);
"""


class Branch(NamedTuple):
    """Names one branch for ever. The log belongs to it: two coordinators may mint the same transaction id."""

    log: bytes
    transaction: bytes
    number: int


class Seen(NamedTuple):
    """A place in a coordinator's log. Sorts by epoch, then by position."""

    epoch: int
    lsn: int


@dataclass
class Vote:
    kind: str
    reason: str = ""
    message: str = ""


class Store:
    """One SQLite file, held by this process alone."""

    def __init__(self, path: str, goods: dict[str, int]):
        is_new = not os.path.exists(path)
        self._db = sqlite3.connect(path, isolation_level=None)
        # A commit must outlive a power cut. FULL is not enough with a rollback journal: SQLite's own words are that a commit
        # that is followed closely by a power loss may roll back. EXTRA syncs the directory too.
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = EXTRA")
        # A second process on this file waits in vain: two would promise the same goods.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        with self._transaction():
            for statement in SCHEMA.split(";"):
                self._db.execute(statement)
            if self._db.execute("SELECT count(*) FROM store").fetchone() == (0,):
                self._db.execute("INSERT INTO store VALUES (?, 1)", (os.urandom(16),))
                self._db.executemany("INSERT INTO goods VALUES (?, ?)", goods.items())
        if is_new:
            sync_directory(path)
        self.id, self.generation = self._db.execute("SELECT id, generation FROM store").fetchone()

    def seen(self) -> dict[bytes, Seen]:
        """The most that was seen of each coordinator's log."""
        return {log: Seen(epoch, lsn) for log, epoch, lsn in self._db.execute("SELECT log, epoch, lsn FROM seen")}

    def scan(self) -> list[tuple[Branch, str]]:
        """Every branch with its state, read from the file itself."""
        rows = self._db.execute("SELECT log, txn, number, state FROM branches ORDER BY log, txn, number")
        return [(Branch(log, txn, number), state) for log, txn, number, state in rows]

    def prepare(self, asked: list[tuple[Branch, bytes]], seen: Seen) -> list[Vote]:
        """Checks and promises, all in one transaction. When this returns, every promise in it is durable."""
        with self._transaction():
            votes = [self._promise(branch, operation) for branch, operation in asked]
            if any(vote.kind == PREPARED for vote in votes):
                self._witness(asked[0][0].log, seen)
        return votes

    def _promise(self, branch: Branch, operation: bytes) -> Vote:
        state = self._state(branch)
        if state == PREPARED:
            return Vote(PREPARED)
        if state is not None:
            return Vote(REFUSED, "FENCED", "the branch was decided already")
        try:
            wanted = json.loads(operation)
            if "count" in wanted and len(wanted) == 1:
                return self._is_there(str(wanted["count"]))
            purchase, item, count = str(wanted["purchase"]), str(wanted["item"]), int(wanted["take"])
            if not 0 < count <= 1_000_000:
                raise ValueError("take is not between 1 and 1000000")
        except (ValueError, TypeError, KeyError) as error:
            words = 'an operation is {"purchase": "p-1", "item": "tea", "take": 2} or {"count": "tea"}'
            return Vote(REFUSED, "BAD_OPERATION", f"{words}: {error}")
        # The goods leave the shelf now, so that nobody else is promised the same ones.
        taken = self._db.execute("UPDATE goods SET free = free - ? WHERE item = ? AND free >= ?", (count, item, count))
        if taken.rowcount != 1:
            return Vote(REFUSED, "NOT_IN_STOCK", f"there are not {count} of {item}")
        row = (*branch, PREPARED, purchase, item, count)
        self._db.execute("INSERT INTO branches VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return Vote(PREPARED)

    def _is_there(self, item: str) -> Vote:
        if self._db.execute("SELECT 1 FROM goods WHERE item = ?", (item,)).fetchone() is None:
            return Vote(REFUSED, "NO_SUCH_ITEM", f"there is no {item}")
        return Vote(READ_ONLY)

    def finish(self, decided: list[tuple[Branch, str]], seen: Seen) -> list[tuple[str, str]]:
        """Carries decisions out, all in one transaction: an answer and its evidence each, durable when this returns."""
        with self._transaction():
            answers = [self._finish(branch, decision) for branch, decision in decided]
            self._witness(decided[0][0].log, seen)
        return answers

    def _finish(self, branch: Branch, decision: str) -> tuple[str, str]:
        state = self._state(branch)
        if state == decision:
            return DONE, ""
        if state in (COMMITTED, ABORTED):
            return CONTRARY, f"the branch was {state}"
        if decision == COMMITTED:
            if state is None:
                # Nothing proves that it was ever done: saying so would hide a loss.
                return HAZARD, "the store has neither the branch nor a marker of it"
            self._db.execute(
                "INSERT INTO sold (purchase, item, count) SELECT purchase, item, count FROM branches"
                " WHERE log = ? AND txn = ? AND number = ?", branch)
        elif state == PREPARED:
            self._db.execute(
                "UPDATE goods SET free = free + b.count FROM branches AS b"
                " WHERE b.log = ? AND b.txn = ? AND b.number = ? AND goods.item = b.item", branch)
        # The row stays: as a marker that it was done, or as a fence against a prepare that comes late.
        self._db.execute(
            "INSERT INTO branches (log, txn, number, state) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET state = excluded.state", (*branch, decision))
        return DONE, ""

    def forget(self, branches: list[Branch]) -> None:
        """Markers and fences go. A promise stays, whatever anybody says about forgetting."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM branches WHERE log = ? AND txn = ? AND number = ? AND state <> 'prepared'", branches)

    def _state(self, branch: Branch) -> Optional[str]:
        row = self._db.execute(
            "SELECT state FROM branches WHERE log = ? AND txn = ? AND number = ?", branch).fetchone()
        return row and row[0]

    def _witness(self, log: bytes, seen: Seen) -> None:
        """Keeps the most that was seen, never less."""
        self._db.execute(
            "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch, lsn = excluded.lsn"
            " WHERE (excluded.epoch, excluded.lsn) > (seen.epoch, seen.lsn)", (log, *seen))

    @contextmanager
    def _transaction(self):
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def sync_directory(path: str) -> None:
    """A new file's name outlives a power cut only if its directory is synced."""
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sold(path: str) -> list[str]:
    """What was sold, one line each, from a file that no process holds."""
    if not os.path.exists(path):
        return []
    with sqlite3.connect(f"file:{path}?mode=rw", uri=True) as db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sold'").fetchone() is None:
            return []
        rows = db.execute("SELECT purchase, item, count FROM sold ORDER BY number").fetchall()
    return [f"{purchase}: {count} {item}" for purchase, item, count in rows]
