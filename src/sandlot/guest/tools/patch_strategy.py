"""The ways a patch is tried, from strict to lenient, and the reasons when none of them works."""

from __future__ import annotations

import re

from sandlot.guest.tools.arguments import display
from sandlot.guest.tools.patch_canonical import canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandlot.guest.tools.patch_names import Target
    from sandlot.guest.tools.patch_scratch import Scratch

STRATEGIES = ("exact", "recount", "zero-context", "line-endings", "white-space", "reduced-context", "lenient")
"""Strict to lenient. ``recount``: hunk counts or stripped context were repaired. ``zero-context``: hunks without
context (diff -U0) go where their line numbers say. ``line-endings``: the patch's were changed to each file's.
``white-space``: context may differ in white space. ``reduced-context``: one line of context around a change is
enough. ``lenient``: both."""

MOST_DETAILS = 100

_REJECTED = re.compile(rb"^Rejected hunk #(\d+)\.$", re.MULTILINE)


class Attempt:
    """One mail's sections, to be applied to the scratch copies."""

    def __init__(self, text: bytes, targets: list[Target], scratch: Scratch) -> None:
        self._text = text
        self._targets = targets
        self._scratch = scratch
        self._eols = [self._line_ending(target) for target in targets]
        self._crlf = any(target.section.crlf for target in targets)

    def _line_ending(self, target: Target) -> bytes | None:
        if not target.section.hunks:
            return None
        found = None if target.old is None else self._scratch.line_ending(target.old)
        # A new file of a patch that went through a CR LF conversion is taken back to LF.
        return found or (b"\n" if target.section.crlf else None)

    def run(self) -> str:
        """Apply the sections; the name of the strategy that worked, or empty when none did."""
        plain = "recount" if any(target.section.repaired for target in self._targets) else "exact"
        bare = [hunk for target in self._targets for hunk in target.section.hunks if not hunk.context]
        # Without context git takes a hunk for one at the end of its file; only that of a whole file (or at line 1) is.
        misplaced = any(hunk.old_start > 1 for hunk in bare)
        if not misplaced and self._crlf and self._try(adapt=True):
            return "line-endings"
        if not misplaced and self._try(adapt=False):
            return plain
        for adapt in (self._crlf, not self._crlf):
            if bare and self._try(adapt, b"--unidiff-zero"):
                return "zero-context"
        if misplaced:
            return ""
        adapts = not self._crlf and any(eol is not None for eol in self._eols)
        if adapts and self._try(adapt=True):
            return "line-endings"
        if any(self.applied_already(target, eol) for target, eol in self._failing()):
            return ""  # less context would let it be applied a second time
        for name, options in (
            ("white-space", (b"--ignore-whitespace",)),
            ("reduced-context", (b"-C1",)),
            ("lenient", (b"-C1", b"--ignore-whitespace")),
        ):
            if self._try(True, *options):
                return name
        return ""

    def _write(self, adapt: bool) -> None:
        pieces = (
            piece
            for target, eol in zip(self._targets, self._eols)  # noqa: B905  # strict= is newer than Python 3.9
            for piece in canonical(self._text, target, eol if adapt else None)
        )
        self._scratch.write_patch(pieces)

    def _try(self, adapt: bool, *options: bytes) -> bool:
        self._write(adapt)
        return self._scratch.apply(*options)[0]

    def _one(self, target: Target, eol: bytes | None, *options: bytes) -> tuple[bool, bytes]:
        self._scratch.write_patch(canonical(self._text, target, eol))
        return self._scratch.apply(*options)

    def _failing(self) -> Iterator[tuple[Target, bytes | None]]:
        """Sections that do not apply by themselves, with their file's line ending; no more than can be told."""
        told = 0
        for target, eol in zip(self._targets, self._eols):  # noqa: B905  # as above
            if told >= MOST_DETAILS:
                return
            if not self._one(target, eol, b"--check")[0]:
                told += 1
                yield target, eol

    def applied_already(self, target: Target, eol: bytes | None) -> bool:
        """Whether the tree looks as if this section had been applied before."""
        return self._one(target, eol, b"--check", b"--reverse")[0]

    def reasons(self) -> list[str]:
        """One line for each hunk or file that does not apply. The copies are of no use afterwards."""
        lines: list[str] = []
        for target, eol in self._failing():
            lines += self._explain(target, eol)
        if not lines:  # each section applies by itself
            lines = self._whole_patch()
        return lines if len(lines) < MOST_DETAILS else [*lines[:MOST_DETAILS], "and more"]

    def _explain(self, target: Target, eol: bytes | None) -> list[str]:
        path = display(target.path)
        if self.applied_already(target, eol):
            return [f"{path}: already applied"]
        if target.old is not None and not self._scratch.exists(target.old):
            return [f"{display(target.old)}: no such file"]
        if target.new not in (None, target.old) and self._scratch.exists(target.new or b""):
            return [f"{path}: already exists"]
        _, message = self._one(target, eol, b"--reject", b"--verbose")
        hunks = target.section.hunks
        rejected = [int(number) for number in _REJECTED.findall(message)]
        if rejected:
            return [
                f"{path} hunk {number} (line {hunks[number - 1].old_start}): context does not match"
                for number in rejected
                if number <= len(hunks)
            ]
        return [f"{path}: {_first_error(message)}"]

    def _whole_patch(self) -> list[str]:
        self._write(adapt=True)
        return [_first_error(self._scratch.apply(b"--check")[1])]


def _first_error(message: bytes) -> str:
    for line in message.splitlines():
        if line.startswith((b"error: ", b"fatal: ")):
            return display(line[7:])
    return "does not apply"
