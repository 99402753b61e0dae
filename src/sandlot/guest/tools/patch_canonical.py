"""Writing a patch again the one way git reads without guessing: right counts, quoted names, prefixes a/ and b/."""

from __future__ import annotations

from sandlot.guest.tools.patch_text import NO_NEWLINE, Hunk, body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandlot.guest.tools.patch_names import Target

_SPECIAL = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 11: b"\\v", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}


def quote(name: bytes) -> bytes:
    """A name in C-style quotes."""
    plain = (bytes([c]) if 32 <= c < 127 and c not in (34, 92) else _SPECIAL.get(c) or b"\\%03o" % c for c in name)
    return b'"' + b"".join(plain) + b'"'


def canonical(text: bytes, target: Target, eol: bytes | None) -> Iterator[bytes]:
    """The section again, in pieces.

    ``eol`` is the line ending the file uses, given to every line of the hunks; None leaves the lines as they are.
    """
    section = target.section
    old = target.old if target.old is not None else target.path
    new = target.new if target.new is not None else target.path
    yield b"diff --git %s %s\n" % (quote(b"a/" + old), quote(b"b/" + new))
    if target.old is None:
        yield b"new file mode %s\n" % (section.new_file_mode or b"100644")
    elif target.new is None:
        yield b"deleted file mode %s\n" % (section.deleted_mode or b"100644")
    elif section.new_mode:
        yield b"old mode %s\nnew mode %s\n" % (section.old_mode or b"100644", section.new_mode)
    if target.old is not None and target.new is not None and old != new:
        verb = b"copy" if target.keeps_old else b"rename"
        yield b"%s from %s\n%s to %s\n" % (verb, quote(old), verb, quote(new))
    if section.index:
        yield section.index + b"\n"
    if section.binary is not None:
        content = text[section.binary[0] : section.binary[1]]
        yield content.replace(b"\r\n", b"\n") if section.crlf else content
    elif section.hunks:
        yield b"--- %s\n" % (b"/dev/null" if target.old is None else quote(b"a/" + old))
        yield b"+++ %s\n" % (b"/dev/null" if target.new is None else quote(b"b/" + new))
        for hunk in section.hunks:
            yield from _hunk(text, hunk, eol, section.crlf)


def _hunk(text: bytes, hunk: Hunk, eol: bytes | None, crlf: bool) -> Iterator[bytes]:
    old = hunk.context + hunk.removed
    new = hunk.context + hunk.added
    new_start = hunk.new_start
    if not new and new_start:
        new_start += 1  # an empty range is written as the line before it, which git takes for the place itself
    yield b"@@ -%d,%d +%d,%d @@%s\n" % (hunk.old_start, old, new_start, new, hunk.title)
    batch: list[bytes] = []
    for sign, content, unfinished in body(text, hunk, crlf and eol is not None):
        if eol is not None and not unfinished:
            content = content[:-1] if content.endswith(b"\r") else content
            content += eol[:-1]
        batch += (sign, content, b"\n")
        if unfinished:
            batch += (NO_NEWLINE, b"\n")
        if len(batch) > 4096:
            yield b"".join(batch)
            batch.clear()
    yield b"".join(batch)
