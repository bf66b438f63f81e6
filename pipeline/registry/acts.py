"""Acts on releases: register, promote, roll back. The caller holds the lock of the workspace.

Each act writes in this order, and syncs each step to disk before the next: the release folder, the
line in the ledger, the pointer, the copies of the champion's files in models/. A crash leaves one
whole champion, the old one or the new one. The next act completes what it interrupted.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.files import publish_directory, sha256, sync, write_bytes, write_text
from pipeline.core.reports import JUDGED_PROVIDERS
from pipeline.core.workspace import Workspace
from pipeline.inference.trust import SIGNATURES
from pipeline.registry.folder import (
    CARD,
    PROVENANCE,
    SUMS,
    Release,
    verify_checksums,
)
from pipeline.registry.ledger import Act, Ledger
from pipeline.registry.releases import Pointer, Releases

KEPT = 5  # newest releases that are never removed
COPIED = (CARD, JUDGED_PROVIDERS, PROVENANCE)  # with the ONNX file, SHA256SUMS and the signature
SCRATCH = ".new-"  # the prefix of unfinished release folders


@contextmanager
def new_folder(workspace: Workspace) -> Iterator[Path]:
    """Yield an empty folder for the files of a release, which `register` moves to its place."""
    workspace.releases.mkdir(parents=True, exist_ok=True)
    for left in workspace.releases.glob(f"{SCRATCH}*"):  # by a process that was killed
        shutil.rmtree(left)
    with TemporaryDirectory(dir=workspace.releases, prefix=SCRATCH) as scratch:
        folder = Path(scratch) / "release"
        folder.mkdir()
        yield folder


def seal(folder: Path) -> None:
    """Write SHA256SUMS of all files in a release folder."""
    names = sorted(path.name for path in folder.iterdir())
    text = "".join(f"{sha256(folder / name)}  {name}\n" for name in names)
    write_text(folder / SUMS, text)


def register(
    workspace: Workspace,
    folder: Path,
    verdict: str,
    *,
    hold: bool = False,
    **facts: Any,
) -> Release:
    """Give the sealed folder from `new_folder` the next number and record it; nothing is promoted.

    `facts`: further fields of the line in the ledger, such as `reason` and `comparisons`. After a
    rollback, or with `hold`, the release is held: the stage `release` does not promote it.

    Then removes releases that are neither among the newest KEPT nor in use: the champion, the one
    before it, the target of a rollback, the best. UserError if a file of the folder does not match
    SHA256SUMS.
    """
    verify_checksums(folder)
    complete(workspace)
    _remove_unrecorded(Releases.of(workspace), folder)
    releases = Releases.of(workspace)
    number = releases.next_number
    publish_directory(folder, workspace.releases / str(number))
    sync(workspace.models)
    release = Releases.of(workspace).find(number)
    Ledger(workspace.ledger).append(
        Act.REGISTER,
        release=number,
        sha256=release.sha256,
        verdict=verdict,
        held=hold or releases.held(),
        **facts,
    )
    _remove_old(Releases.of(workspace))
    return release


def promote(workspace: Workspace, number: int, reason: str | None) -> Release:
    """Make a release the champion; after a rollback, new releases are promoted again.

    The release may be the champion already if that was chosen by a rollback. Otherwise UserError,
    as well as if there is no such release or a file of it has changed.
    """
    return _choose(workspace, Act.PROMOTE, number, reason)


def rollback(workspace: Workspace, number: int | None = None, reason: str | None = None) -> Release:
    """Make an earlier release the champion, by default the one that the champion replaced.

    Later releases are registered but not promoted, until `promote` is called. UserError as in
    `promote`, or if there is no earlier champion.
    """
    if number is None:
        complete(workspace)
        target = Releases.of(workspace).rollback_target()
        if target is None:
            raise UserError(
                f"{workspace.models} has no champion before this one: name a release, "
                "`releases` lists them"
            )
        number = target.number
    return _choose(workspace, Act.ROLLBACK, number, reason)


def complete(workspace: Workspace) -> None:
    """Complete an act that a crash interrupted: the pointer follows the ledger, copies follow it.

    UserError if the release that the ledger names is missing.
    """
    releases = Releases.of(workspace)
    if releases.moves and (last := releases.moves[-1]).release is not None:
        pointer = Pointer(release=last.release, sha256=last.sha256 or "")
        if not workspace.pointer.exists() or Pointer.read(workspace.pointer) != pointer:
            releases.find(pointer.release)
            pointer.write(workspace.pointer)
    if (champion := releases.champion()) is not None:
        _copy(workspace, champion)


def _choose(workspace: Workspace, act: Act, number: int, reason: str | None) -> Release:
    complete(workspace)
    releases = Releases.of(workspace)
    release, champion = releases.find(number), releases.champion()
    ends_hold = act is Act.PROMOTE and releases.held()
    if champion is not None and champion.number == number and not ends_hold:
        raise UserError(f"release {number} is the champion already: nothing to do")
    verify_checksums(release.folder)
    Ledger(workspace.ledger).append(
        act,
        release=number,
        sha256=release.sha256,
        replaces=champion.sha256 if champion else _unregistered(workspace),
        reason=reason,
    )
    Pointer(release=number, sha256=release.sha256).write(workspace.pointer)
    _copy(workspace, release)
    return release


def _copy(workspace: Workspace, champion: Release) -> None:
    """Make the files in models/ copies of the champion's; SHA256SUMS, which is last, lists them."""
    names = [*COPIED, champion.model.name]
    for name in names:
        _write(workspace.models / name, (champion.folder / name).read_bytes())
    signatures = [name for name in SIGNATURES if (champion.folder / name).exists()]
    for name in signatures:
        _write(workspace.models / name, (champion.folder / name).read_bytes())
    sums = "".join(f"{sha256(workspace.models / name)}  {name}\n" for name in sorted(names))
    _write(workspace.checksums, sums.encode())
    stale = [path for path in workspace.models.glob("*.onnx") if path.name != champion.model.name]
    stale += [workspace.models / name for name in SIGNATURES if name not in signatures]
    for path in stale:
        path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def _unregistered(workspace: Workspace) -> str | None:
    """The SHA-256 of a released model that no release folder contains; None if there is none."""
    path = workspace.released_model
    return sha256(path) if path.exists() else None


def _remove_unrecorded(releases: Releases, folder: Path) -> None:
    """Remove the release of the same model that a crash left without a line in the ledger."""
    model = next(folder.glob("*.onnx"))
    for release in releases.all.values():
        if release.sha256 == sha256(model) and releases.registration(release) is None:
            shutil.rmtree(release.folder)


def _remove_old(releases: Releases) -> None:
    """Remove release folders that are neither new nor in use."""
    in_use = (
        *(releases.champion(), releases.best()),
        *(releases.previous(), releases.rollback_target()),
    )
    kept = {release.number for release in in_use if release} | {*releases.numbers[-KEPT:]}
    for number in releases.numbers:
        if number not in kept:
            shutil.rmtree(releases.folder(number))
