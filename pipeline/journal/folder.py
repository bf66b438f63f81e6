"""The files of a journal."""

import hashlib
import hmac
import ipaddress
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.core.files import replacing, sync
from pipeline.journal.ids import uuid7

SUFFIX = ".parquet"
ROWS = 8192  # of a row group
KEY_BYTES = 32
REPEATED = ("client", "label", "model", "sha256", "source", "verdict", "version", "voter")
FORMAT = {  # of the files; dictionaries are for columns whose values repeat
    "compression": "zstd",
    "use_dictionary": list(REPEATED),
    "write_statistics": False,
}


@dataclass(frozen=True)
class JournalFolder:
    """The paths of a journal."""

    root: Path

    @classmethod
    def existing(cls, root: Path) -> "JournalFolder":
        """The journal in this folder. UserError if it is none."""
        found = cls(root)
        if not found.parts.is_dir():
            raise UserError(f"{root} is not a journal: name the folder of `serve --journal`")
        return found

    @classmethod
    def create(cls, root: Path) -> "JournalFolder":
        """The journal in this folder, which is created if needed.

        UserError if the folder has other files, or cannot be written.
        """
        found = cls(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not found.key_file.exists() and any(root.iterdir()):
                raise UserError(f"{root} is not a journal, but has files: name an empty folder")
            found._write_key(secrets.token_bytes(KEY_BYTES))
            found._make_folders()
            with NamedTemporaryFile(dir=found.parts, prefix=".", suffix=SUFFIX):
                pass  # it can be written
        except OSError as error:
            raise UserError(f"the journal {root} cannot be written: {error.strerror}") from error
        found.key  # noqa: B018 (`restore` needs it)
        return found

    @property
    def parts(self) -> Path:
        """The folder of new entries."""
        return self.root / "parts"

    @property
    def votes(self) -> Path:
        """The folder of new votes."""
        return self.root / "votes"

    @property
    def labelled_parts(self) -> Path:
        """The folder of entries that are kept because of votes."""
        return self.root / "labelled" / "parts"

    @property
    def labelled_votes(self) -> Path:
        """The folder of the votes on them."""
        return self.root / "labelled" / "votes"

    @property
    def entry_folders(self) -> tuple[Path, Path]:
        """All folders of entries."""
        return self.parts, self.labelled_parts

    @property
    def vote_folders(self) -> tuple[Path, Path]:
        """All folders of votes."""
        return self.votes, self.labelled_votes

    @property
    def removed(self) -> Path:
        """The folder of the ids that are removed."""
        return self.root / "removed"

    @property
    def key_file(self) -> Path:
        """The file with the secret."""
        return self.root / "key"

    @cached_property
    def key(self) -> bytes:
        """The secret of the journal. UserError if it cannot be read."""
        try:
            key = self.key_file.read_bytes()
        except OSError as error:
            raise UserError(f"{self.key_file} cannot be read: {error.strerror}") from error
        if len(key) != KEY_BYTES:
            raise UserError(f"{self.key_file} is corrupt: restore it, or use another folder")
        return key

    def client(self, address: str) -> str:
        """The keyed hash of a client's address: equal addresses have the same.

        Addresses of IPv6 count by their first 64 bits, since a client has all of those, except
        those that stand for one of IPv4.
        """
        with suppress(ValueError):
            parsed = ipaddress.ip_address(address)
            if isinstance(parsed, ipaddress.IPv6Address):
                parsed = parsed.ipv4_mapped or parsed
            address = str(parsed)
            if parsed.version == 6:
                network = ipaddress.ip_network((parsed, 64), strict=False)
                address = str(network.network_address)
        return hmac.new(self.key, address.encode(), hashlib.sha256).hexdigest()[:16]

    def remove(self, identifier: str) -> None:
        """Remove an entry: readers skip it from now on. OSError if the disk is full."""
        self.restore()
        path = self.removed / identifier
        path.touch()
        sync(path)
        sync(self.removed)

    def removed_ids(self) -> set[str]:
        """The ids of the entries that are removed."""
        with suppress(FileNotFoundError):
            return {path.name for path in self.removed.iterdir()}
        return set()

    def write_part(self, table: pa.Table) -> Path:
        """Write entries; the file appears whole. OSError if the disk is full."""
        self.restore()
        return write_whole(table, self.parts)

    def write_votes(self, table: pa.Table) -> Path:
        """Write votes; the same."""
        self.restore()
        return write_whole(table, self.votes)

    def restore(self) -> None:
        """Create the folder again, with its secret, if it was deleted. OSError if that fails."""
        if not self.key_file.exists() or not self.removed.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            self._write_key(self.key)
            self._make_folders()

    def _make_folders(self) -> None:
        for folder in (*self.entry_folders, *self.vote_folders, self.removed):
            folder.mkdir(parents=True, exist_ok=True)
        sync(self.root)

    def _write_key(self, key: bytes) -> None:
        """Write the secret unless there is one; only the owner can read it."""
        if self.key_file.exists():
            return
        temporary = self.root / f".key.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process has written one
                os.link(temporary, self.key_file)
        finally:
            temporary.unlink()


def write_whole(table: pa.Table, folder: Path) -> Path:
    """Write a table to a new file of a folder, which appears whole; its path."""
    path = folder / f"{uuid7()}{SUFFIX}"
    write_file(table, path)
    return path


def write_file(table: pa.Table, path: Path) -> None:
    """Write a file of a journal, which appears whole."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, ROWS, **FORMAT)
