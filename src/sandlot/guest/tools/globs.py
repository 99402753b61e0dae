"""Glob patterns on relative paths.

``*`` and ``?`` match within one component, ``**`` matches any number of components, ``[a-z]`` and ``[!a-z]`` one
character, ``{a,b}`` either; a backslash takes the next character literally. A pattern without a slash is tried on
the last component, at any depth; one with a slash on the whole relative path. A leading ``!`` selects what does not
match.
"""

from __future__ import annotations

from sandlot.guest.tools import ToolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 1024


def matcher(pattern: bytes) -> Callable[[bytes], bool] | None:
    """A test for relative paths, or None for an empty pattern. Raises ToolError (invalid_argument)."""
    if not pattern:
        return None
    if len(pattern) > LONGEST:
        raise ToolError("invalid_argument", f"the glob is longer than {LONGEST} bytes")
    import re

    wanted = not pattern.startswith(b"!")
    if not wanted:
        pattern = pattern[1:]
    by_name = b"/" not in pattern.rstrip(b"/")
    try:
        # Latin-1 keeps every byte one character, so names that are not UTF-8 work too.
        test = re.compile(_translate(pattern.strip(b"/").decode("latin-1")).encode("latin-1"), re.DOTALL).fullmatch
    except re.error as error:
        raise ToolError("invalid_argument", f"the glob is malformed: {error.msg}") from None

    def matches(path: bytes) -> bool:
        subject = path[path.rfind(b"/") + 1 :] if by_name else path
        return (test(subject) is not None) is wanted

    return matches


def _translate(glob: str) -> str:
    import re

    out: list[str] = []
    at = depth = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            stars = at - 1
            while glob[at : at + 1] == "*":
                at += 1
            whole = (stars == 0 or glob[stars - 1] == "/") and at - stars > 1
            if whole and glob[at : at + 1] == "/":
                out.append("(?:[^/]+/)*")
                at += 1
            elif whole and at == len(glob):
                out.append(".*")
            else:
                out.append(".*" if at - stars > 1 else "[^/]*")
        elif char == "?":
            # One UTF-8 character, or one byte that is not part of any.
            out.append("(?:[\\xc2-\\xf4][\\x80-\\xbf]{1,3}|[^/])")
        elif char == "[":
            group, at = _bracket(glob, at)
            out.append(group)
        elif char == "{":
            out.append("(?:")
            depth += 1
        elif char == "}" and depth:
            out.append(")")
            depth -= 1
        elif char == "," and depth:
            out.append("|")
        elif char == "\\" and at < len(glob):
            out.append(re.escape(glob[at]))
            at += 1
        else:
            out.append(re.escape(char))
    if depth:
        raise ToolError("invalid_argument", "the glob is malformed: { without }")
    return "".join(out)


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """The set that starts after ``[``, and where it ends; without a ``]`` the bracket is literal."""
    start = at
    if glob[at : at + 1] in ("!", "^"):
        at += 1
    if glob[at : at + 1] == "]":
        at += 1
    end = glob.find("]", at)
    if end < 0:
        return "\\[", start
    inside = glob[start:end]
    negated = inside[:1] in ("!", "^")
    if negated:
        inside = inside[1:]
    body = "".join("\\" + c if c in "\\[]^&~|" else c for c in inside)
    return f"(?!/)[{'^' if negated else ''}{body}]", end + 1
