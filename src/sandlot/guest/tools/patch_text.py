"""Reading a patch: what git diff, git format-patch and diff -u write, and what agents make of it.

The result says what each part of the text wants; nothing is looked up in the tree here. See patch_names for how names
become paths, and patch_canonical for how the parts are written again for git.
"""

from __future__ import annotations

import re

from sandlot.guest.tools import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NO_NEWLINE = b"\\ No newline at end of file"

_HUNK = re.compile(rb"@@ -(\d{1,10})(?:,(\d{1,10}))? \+(\d{1,10})(?:,(\d{1,10}))? @@(.*)", re.DOTALL)
_MAIL = re.compile(rb"From [0-9a-f]{40}(?:[0-9a-f]{24})? ")
_INDEX = re.compile(rb"index [0-9a-f]{4,64}\.\.[0-9a-f]{4,64}(?: [0-7]{6})?$")
_PART = re.compile(rb"(?:literal|delta) \d+$")
_BINARY = re.compile(rb"Binary files .+ and .+ differ$")
_STAMP = re.compile(rb"[ \t]+\d{4}-\d\d-\d\d[ T]\d\d:\d\d.*$")
_EPOCH = re.compile(rb"(?:1970-01-01|1969-12-31)[ T]")
_VERSION = re.compile(rb"\d+\.\d+")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
MOST_PAD = 3


class Hunk:
    """One hunk: ``text[start:end]`` is its body. Counts are of what is there, whatever its header says."""

    __slots__ = ("added", "context", "end", "line", "new_start", "old_start", "pad", "removed", "start", "title")

    def __init__(self, line: int, old_start: int, new_start: int, title: bytes, start: int) -> None:
        self.line = line
        """Line of the header in the patch, from 1."""
        self.old_start = old_start
        self.new_start = new_start
        self.title = title
        self.start = self.end = start
        self.added = self.removed = self.context = 0
        self.pad = 0
        """Blank context lines that were lost from the end of the patch."""


class Section:
    """What the patch does to one file. Names are as written, prefixes included; None stands for /dev/null."""

    __slots__ = (
        "binary", "copy_from", "copy_to", "crlf", "deleted_mode", "epoch_new", "epoch_old", "git", "guessed",
        "header", "hunks", "index", "line", "new_file_mode", "new_mode", "new_name", "no_content", "old_mode",
        "old_name", "rename_from", "rename_to", "repaired",
    )  # fmt: skip

    def __init__(self, line: int, git: bool) -> None:
        self.line = line
        self.git = git
        self.header = b""
        """The two names of a ``diff --git`` line, as written."""
        self.old_name: bytes | None = None
        self.new_name: bytes | None = None
        self.epoch_old = self.epoch_new = False
        """The time stamp says that this side does not exist (diff -N)."""
        self.old_mode = self.new_mode = self.new_file_mode = self.deleted_mode = b""
        self.rename_from = self.rename_to = self.copy_from = self.copy_to = b""
        self.index = b""
        self.hunks: list[Hunk] = []
        self.binary: tuple[int, int] | None = None
        self.no_content = False
        """It says only that binary files differ."""
        self.crlf = False
        """Its header lines end with CR LF: the patch went through something that changed line endings."""
        self.repaired = False
        """Counts or context lines were not as they should be."""
        self.guessed = False
        """Lines without a leading space were taken for context because the counts ask for more."""

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing."""
        modes = self.old_mode or self.new_file_mode or self.deleted_mode
        return not (modes or self.rename_from or self.copy_from or self.hunks or self.binary or self.no_content)


def read_patch(text: bytes, guess: bool = True) -> list[list[Section]]:
    """The sections of each mail of a mailbox; a plain patch is one mail. Raises ToolError (patch_rejected).

    With ``guess`` a line that lost its leading space is context if the hunk's counts ask for more lines; without, the
    counts are wrong then.
    """
    reader = _Reader(text, guess)
    reader.read()
    mails = [[section for section in mail if not section.empty] for mail in reader.mails]
    return [mail for mail in mails if mail]


def body(text: bytes, hunk: Hunk, crlf: bool) -> Iterator[tuple[bytes, bytes, bool]]:
    """The lines of a hunk: (space, ``+`` or ``-``; content without its newline; whether the file has none there).

    With ``crlf`` a CR at the end of a line belongs to the patch and not to the file.
    """
    at = hunk.start
    held: tuple[bytes, bytes] | None = None
    while at < hunk.end:
        end = text.index(b"\n", at)
        line = text[at:end]
        at = end + 1
        if crlf and line.endswith(b"\r"):
            line = line[:-1]
        if line.startswith(b"\\"):
            if held is not None:
                yield (*held, True)
                held = None
            continue
        if held is not None:
            yield (*held, False)
        lost = line[:1] not in (b" ", b"+", b"-")  # a context line without its leading space
        held = (b" ", line) if lost else (line[:1], line[1:])
    if held is not None:
        yield (*held, False)
    for _ in range(hunk.pad):
        yield b" ", b"", False


def unquote(name: bytes) -> tuple[bytes, bytes]:
    """(name, what follows it) for a name in C-style quotes at the beginning of ``name``."""
    end = 1
    while end < len(name) and name[end : end + 1] != b'"':
        end += 2 if name[end : end + 1] == b"\\" else 1
    plain = _ESCAPE.sub(_unescape, name[1:end])
    return plain, name[end + 1 :]


def _unescape(match: re.Match[bytes]) -> bytes:
    what = match.group(1)
    if len(what) == 3:
        return bytes([int(what, 8) & 0xFF])
    return _ESCAPED.get(what, what)


class _Reader:
    """Goes through the text line by line; ``at`` is the offset of the next line, ``line`` its number."""

    def __init__(self, text: bytes, guess: bool) -> None:
        self.text = text
        self.guess = guess
        self.at = 0
        self.line = 1
        self.mails: list[list[Section]] = [[]]
        self.section: Section | None = None

    def peek(self, at: int | None = None) -> bytes | None:
        """The line at an offset without its newline, or None at the end."""
        start = self.at if at is None else at
        if start >= len(self.text):
            return None
        return self.text[start : self.text.index(b"\n", start)]

    def after(self, at: int) -> int:
        """Where the line after the one at an offset begins."""
        return self.text.index(b"\n", at) + 1

    def step(self) -> None:
        self.at = self.after(self.at)
        self.line += 1

    def fail(self, message: str) -> ToolError:
        return ToolError("patch_rejected", "the patch cannot be read", [f"line {self.line}: {message}"])

    def read(self) -> None:
        while (line := self.peek()) is not None:
            if line.startswith(b"diff --git "):
                self._git_section(line)
            elif self._starts_names(self.at):
                self.section = self._begin(git=False)
                self._names(self.section)
            elif line.startswith(b"@@ -"):
                self._hunk(line)
            elif line.startswith((b"@@@ ", b"diff --cc ", b"diff --combined ")):
                raise self.fail("this is the combined diff of a merge, which cannot be applied")
            elif _MAIL.match(line):
                self.section = None
                if self.mails[-1]:
                    self.mails.append([])
                self.step()
            elif _BINARY.match(line.rstrip(b"\r")):
                self._begin(git=False).no_content = True
                self.mails[-1][-1].header = line.rstrip(b"\r")
                self.step()
            else:
                self.step()

    def _begin(self, git: bool) -> Section:
        section = Section(self.line, git)
        self.mails[-1].append(section)
        return section

    def _starts_names(self, at: int) -> bool:
        """Whether a ``---`` line and a ``+++`` line are here."""
        if not self.text.startswith(b"--- ", at):
            return False
        following = self.after(at)
        return self.text.startswith(b"+++ ", following)

    def _git_section(self, line: bytes) -> None:
        section = self.section = self._begin(git=True)
        section.crlf = line.endswith(b"\r")
        section.header = line[len(b"diff --git ") :].rstrip(b"\r")
        self.step()
        while (found := self.peek()) is not None:
            if self._starts_names(self.at):
                self._names(section)
                return
            header = found[:-1] if section.crlf and found.endswith(b"\r") else found
            if header == b"GIT binary patch":
                self._binary(section)
                return
            if _BINARY.match(header):
                section.no_content = True
                self.step()
                return
            if not self._extended(section, header):
                return
            self.step()

    def _extended(self, section: Section, header: bytes) -> bool:
        """Take one of git's extended header lines; False for anything else."""
        for start, field in (
            (b"old mode ", "old_mode"),
            (b"new mode ", "new_mode"),
            (b"new file mode ", "new_file_mode"),
            (b"deleted file mode ", "deleted_mode"),
        ):
            if header.startswith(start):
                setattr(section, field, header[len(start) :].strip())
                return True
        for start, field in (
            (b"rename from ", "rename_from"),
            (b"rename to ", "rename_to"),
            (b"copy from ", "copy_from"),
            (b"copy to ", "copy_to"),
        ):
            if header.startswith(start):
                name = header[len(start) :]
                setattr(section, field, unquote(name)[0] if name.startswith(b'"') else name)
                return True
        if _INDEX.match(header):
            section.index = header
            return True
        return header.startswith((b"index ", b"similarity index ", b"dissimilarity index "))

    def _names(self, section: Section) -> None:
        old = self.peek() or b""
        self.step()
        new = self.peek() or b""
        self.step()
        section.crlf = section.crlf or (old.endswith(b"\r") and new.endswith(b"\r"))
        section.old_name, section.epoch_old = self._name(old[4:])
        section.new_name, section.epoch_new = self._name(new[4:])

    def _name(self, field: bytes) -> tuple[bytes | None, bool]:
        """(name or None for /dev/null, whether its time stamp is the epoch) of a ``---`` or ``+++`` line."""
        field = field.rstrip(b"\r")
        if field.startswith(b'"'):
            name, rest = unquote(field)
        else:
            name, tab, rest = field.partition(b"\t")
            if not tab:
                stamp = _STAMP.search(name)
                if stamp is not None:
                    name, rest = name[: stamp.start()], stamp.group().strip()
        if name.rstrip() == b"/dev/null":
            return None, False
        return name, _EPOCH.match(rest.strip()) is not None

    def _binary(self, section: Section) -> None:
        """``GIT binary patch`` and its one or two parts, each of which ends with an empty line."""
        start = self.at
        self.step()
        while True:
            line = self.peek()
            if line is None or not _PART.match(line.rstrip(b"\r")):
                break
            while (line := self.peek()) is not None and line.rstrip(b"\r"):
                self.step()
            if line is None:
                break
            self.step()
        section.binary = (start, self.at)

    def _hunk(self, line: bytes) -> None:
        section = self.section
        match = _HUNK.match(line)
        if match is None:
            raise self.fail("this hunk header is malformed")
        if section is None or section.binary is not None or not (section.old_name or section.new_name):
            raise self.fail("this hunk does not say which file it is for (--- and +++ lines are missing)")
        old_start, old_count, new_start, new_count, title = match.groups()
        hunk = Hunk(self.line, int(old_start), int(new_start), title.rstrip(b"\r"), self.after(self.at))
        old = 1 if old_count is None else int(old_count)
        new = 1 if new_count is None else int(new_count)
        end = self._by_counts(hunk, old, new, section)
        if end is None:
            section.repaired = True
            hunk.added = hunk.removed = hunk.context = hunk.pad = 0
            end = self._by_looks(hunk)
        if not hunk.added and not hunk.removed:
            raise self.fail("this hunk adds and removes nothing")
        hunk.end = end
        self.line += self.text.count(b"\n", self.at, end)
        self.at = end
        section.hunks.append(hunk)

    def _by_counts(self, hunk: Hunk, old: int, new: int, section: Section) -> int | None:
        """Where the hunk ends if its header's counts are right, else None."""
        at = hunk.start
        lost = False
        while old > 0 or new > 0:
            line = self.peek(at)
            if line is None:
                # Blank context at the end of the text was cut off with the white space around it.
                if old != new or old > MOST_PAD or lost:
                    return None
                hunk.pad = old
                hunk.context += old
                section.repaired = True
                return at
            first = line[:1]
            if first == b"+":
                new -= 1
                hunk.added += 1
            elif first == b"-":
                old -= 1
                hunk.removed += 1
            elif first != b"\\":
                if first not in (b" ", b"", b"\r"):
                    if not self.guess or self._ends(at):
                        return None
                    lost = True
                old -= 1
                new -= 1
                hunk.context += 1
            at = self.after(at)
        while self.text.startswith(b"\\", at):
            at = self.after(at)
        if old < 0 or new < 0 or self._goes_on(at):
            return None
        section.repaired = section.repaired or lost
        section.guessed = section.guessed or lost
        return at

    def _goes_on(self, at: int) -> bool:
        """Whether the line here can only belong to the hunk before it."""
        line = self.peek(at)
        if line is None or self._starts_names(at) or line.rstrip() == b"--":
            return False
        return line[:1] in (b" ", b"+", b"-") and line.rstrip(b" \r") != b""

    def _ends(self, at: int) -> bool:
        """Whether the line here is certainly not part of a hunk."""
        if self.text.startswith((b"diff ", b"@@ -", b"Index: ", b"Only in ", b"GIT binary patch"), at):
            return True
        return self._starts_names(at) or _MAIL.match(self.text, at) is not None

    def _by_looks(self, hunk: Hunk) -> int:
        """Where a hunk with wrong counts ends: at the first line that does not look like part of one."""
        at = last = hunk.start
        blank = 0
        while (line := self.peek(at)) is not None and not self._ends(at):
            first = line[:1]
            if line.rstrip() == b"--" and self._is_signature(at):
                break
            at = self.after(at)
            if first in (b"", b"\r"):
                blank += 1  # context, if more of the hunk follows
                continue
            if first not in (b" ", b"+", b"-", b"\\"):
                break
            hunk.context += blank + (first == b" ")
            hunk.added += first == b"+"
            hunk.removed += first == b"-"
            blank = 0
            last = at
        return last

    def _is_signature(self, at: int) -> bool:
        """Whether the ``--`` line here begins the end of a mail: a version, and nothing of a hunk."""
        following = self.peek(self.after(at))
        return following is None or _VERSION.match(following) is not None or not following.strip()
