"""patch_apply: apply a patch to the tree, all or nothing."""

from __future__ import annotations

import os
import stat

from sandlot.guest.tools import ToolError, bulk
from sandlot.guest.tools.arguments import Arguments, Naming, display
from sandlot.guest.tools.interruption import Interruptible
from sandlot.guest.tools.patch_names import targets
from sandlot.guest.tools.patch_scratch import Original, Scratch, look
from sandlot.guest.tools.patch_strategy import STRATEGIES, Attempt
from sandlot.guest.tools.patch_text import read_patch
from sandlot.guest.tools.place import Blocked
from sandlot.guest.tools.swap import Swap, recover_in
from sandlot.guest.tools.tree import open_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandlot.guest.tools import Emit
    from sandlot.guest.tools.patch_names import Target
    from sandlot.guest.tools.patch_text import Section

LARGEST = 64 * 1024 * 1024
DEEPEST_STRIP = 100


def patch_apply(args: list[bytes], descriptor: int, emit: Emit) -> list[bytes]:
    """Apply a patch that ``bulk`` carries from its current position: at most 64 MiB.

    It may be what ``git diff`` (binary too), ``git format-patch`` (one mail or several, applied in turn) or ``diff -u``
    and ``diff -ru`` print, with text around it.

    Arguments: root; strip (leading components of names that are not part of the path; -1: find out); check only (1: say
    what would happen).

    Items, by path: status (``A`` added, ``M`` modified, ``D`` deleted, ``R`` renamed, ``C`` copied, ``T`` file became
    symlink or the reverse); path; old path (``R`` and ``C``, else empty); lines added; lines deleted (both -1 for a
    binary change). A path that ends as it was is left out.

    Result: the most lenient strategy that was needed (see patch_strategy); number of items.

    The patch is applied with git to copies of the files it names, then the results are put in place; a failure, SIGTERM
    or the client's departure puts everything back (after a SIGKILL ``recover`` does). The workspace's own git
    configuration, attributes and index play no part. Files keep their permission bits but for the executable one, if
    the patch changes that. Folders that become empty go, as with git.

    Errors: invalid_argument (no patch in it), unsafe_path (a name that is absolute, climbs, belongs to ``.git`` or lies
    behind a symlink), patch_rejected (``details``: a line for each hunk or file), file_refused (no git, no space, ...).
    """
    fields = Arguments(args)
    root = fields.path("root")
    strip = fields.number("strip", -1, DEEPEST_STRIP)
    check_only = fields.flag("check only")
    text = _read(descriptor)
    with Naming(root):
        top = open_path(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            patched = _apply(top, text, strip, check_only)
        finally:
            os.close(top)
    items = patched.items
    for item in items:
        emit(item)
    return [patched.strategy.encode(), b"%d" % len(items)]


def _apply(root: int, text: bytes, strip: int, check_only: bool) -> _Patched:
    mails = read_patch(text)
    if not mails:
        raise ToolError("invalid_argument", "there is no patch in what was sent")
    try:
        return _apply_mails(root, text, mails, strip, check_only)
    except ToolError as error:
        if error.code != "patch_rejected" or not any(section.guessed for mail in mails for section in mail):
            raise
        try:  # perhaps those lines only follow the patch
            return _apply_mails(root, text, read_patch(text, guess=False), strip, check_only)
        except ToolError:
            raise error from None


def _apply_mails(root: int, text: bytes, mails: list[list[Section]], strip: int, check_only: bool) -> _Patched:
    with Interruptible() as interruptible:
        recover_in(root)
        with Swap(root, interruptible) as swap:
            scratch = Scratch(swap, _uses_sha256(mails))
            try:
                patched = _Patched(swap, scratch)
                for number, mail in enumerate(mails):
                    patched.apply(text, mail, strip, f"patch {number + 1}: " if len(mails) > 1 else "")
                patched.report()
                if not check_only:
                    patched.put_in_place()
            finally:
                scratch.close()
            swap.finish()
    return patched


def _read(descriptor: int) -> bytes:
    bulk.need(descriptor)
    parts: list[bytes] = []
    size = 0
    for chunk in bulk.chunks(descriptor):
        size += len(chunk)
        if size > LARGEST:
            raise ToolError("invalid_argument", f"the patch is larger than {LARGEST} bytes")
        parts.append(chunk)
    if parts and not parts[-1].endswith(b"\n"):
        parts.append(b"\n")
    return b"".join(parts)


def _uses_sha256(mails: list[list[Section]]) -> bool:
    """Whether the names of binary content are SHA-256, as in a repository of that format."""
    return any(s.binary is not None and len(s.index.partition(b"..")[0]) > 60 for mail in mails for s in mail)


class _Patched:
    """The state after the mails applied so far."""

    def __init__(self, swap: Swap, scratch: Scratch) -> None:
        self._swap = swap
        self._scratch = scratch
        self.strategy = STRATEGIES[0]
        self._origins: dict[bytes, bytes] = {}
        """Where the content of a renamed or copied path comes from in the real tree."""
        self._counts: dict[bytes, tuple[int, int]] = {}
        self.items: list[list[bytes]] = []

    def apply(self, text: bytes, mail: list[Section], strip: int, whose: str) -> None:
        """Apply one mail to the copies. Raises ToolError."""
        found = targets(mail, strip, self._scratch.exists)
        self._scratch.fetch([path for target in found for path in target.paths])
        attempt = Attempt(text, found, self._scratch)
        strategy = attempt.run()
        if not strategy:
            details = [whose + line for line in attempt.reasons()]
            raise ToolError("patch_rejected", "the patch does not apply; nothing was changed", details)
        self.strategy = max(self.strategy, strategy, key=STRATEGIES.index)
        for target in found:
            self._account(target)

    def _account(self, target: Target) -> None:
        if target.old is not None and target.new is not None and target.old != target.new:
            origin = self._origins.get(target.old, target.old)
            self._origins[target.new] = origin
            if not target.keeps_old and target.old in self._counts:
                self._counts.setdefault(target.new, self._counts.pop(target.old))
        section = target.section
        added, deleted = self._counts.get(target.path, (0, 0))
        if section.binary is not None or added < 0:
            self._counts[target.path] = (-1, -1)
            return
        added += sum(hunk.added for hunk in section.hunks)
        self._counts[target.path] = (added, deleted + sum(hunk.removed for hunk in section.hunks))

    def _changes(self) -> list[tuple[bytes, Original | None, os.stat_result | None]]:
        """(path, what it was, what it is) of every path that is not as it was, in order."""
        found = []
        for path in sorted(self._scratch.originals, key=lambda path: path.split(b"/")):
            before = self._scratch.originals[path]
            after = self._scratch.info(path)
            if after is None and before is None:
                continue
            if after is not None and before is not None and look(after) == before.copied:
                continue
            found.append((path, before, after))
        return found

    def report(self) -> None:
        """Work out the items, as described above."""
        changes = self._changes()
        gone = {path for path, _, after in changes if after is None}
        renamed = {self._origins[path] for path, before, _ in changes if before is None and path in self._origins}
        for path, before, after in changes:
            origin = b""
            if after is None:
                if path in renamed:
                    continue  # said with its new name
                status = b"D"
            elif before is None:
                origin = self._origins.get(path, b"")
                status = b"A" if not origin else b"R" if origin in gone else b"C"
            else:
                status = b"M" if stat.S_IFMT(after.st_mode) == stat.S_IFMT(before.info.st_mode) else b"T"
            added, deleted = self._counts.get(path, (0, 0))
            self.items.append([status, path, origin, b"%d" % added, b"%d" % deleted])

    def put_in_place(self) -> None:
        """Bring the changes into the real tree. Raises ToolError; the caller then undoes what was done."""
        changes = self._changes()
        for path, before, _ in changes:
            with Naming(path):
                self._refuse_late_change(path, before)
        kept = {parent for path, _, after in changes if after is not None for parent in _parents(path)}
        for path, _, after in changes:
            if after is None:
                with Naming(path):
                    self._swap.set_aside(path)
                    self._drop_empty(path, kept)
        for path, before, after in changes:
            if after is not None:
                with Naming(path):
                    self._put(path, before, after)

    def _refuse_late_change(self, path: bytes, before: Original | None) -> None:
        try:
            info = self._swap.place.info(path)
        except Blocked:
            info = None
        if before is None:
            changed = info is not None and not stat.S_ISDIR(info.st_mode)
        else:
            changed = info is None or look(info) != look(before.info)
        if changed:
            raise _rejected(path, "was changed while the patch was applied")

    def _drop_empty(self, path: bytes, kept: set[bytes]) -> None:
        for parent in _parents(path):
            if parent in kept or not self._swap.remove_folder(parent):
                return

    def _put(self, path: bytes, before: Original | None, after: os.stat_result) -> None:
        folder, name = self._scratch.place.parent(path)
        if stat.S_ISREG(after.st_mode):
            source = before or self._scratch.originals.get(self._origins.get(path, b""))
            if source is not None and stat.S_ISREG(source.info.st_mode):
                mode = _executable(stat.S_IMODE(source.info.st_mode), bool(after.st_mode & 0o100))
                os.chmod(name, mode, dir_fd=folder)
        number = self._swap.spare()
        os.rename(name, number, src_dir_fd=folder, dst_dir_fd=self._swap.new)
        try:
            self._swap.make_parents(path)
            self._swap.put(number, path)
        except IsADirectoryError:
            raise _rejected(path, "a folder of that name is in the way") from None
        except Blocked as error:
            raise _rejected(path, f"{display(error.parent)} is no folder") from None


def _parents(path: bytes) -> list[bytes]:
    """The folders above a path, nearest first."""
    found = []
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        found.append(path)
    return found


def _executable(mode: int, wanted: bool) -> int:
    """Permission bits, made executable for whoever may read, or for nobody, if that is not as wanted."""
    if bool(mode & 0o100) == wanted:
        return mode
    return mode | (mode & 0o444) >> 2 if wanted else mode & ~0o111


def _rejected(path: bytes, reason: str) -> ToolError:
    return ToolError("patch_rejected", "the patch does not apply; nothing was changed", [f"{display(path)}: {reason}"])
