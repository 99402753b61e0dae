"""TOML, by tomlkit, which keeps the layout of what it does not change."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from sandlot.hosts.formats.base import JsonObject, JsonValue, KeyPath, Unparsable

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["Toml"]


class Toml:
    """The notation of Codex."""

    name = "TOML"

    def parse(self, text: str) -> JsonObject:
        """What the text says (dates as objects of their own). Raises Unparsable."""
        try:
            return tomllib.loads(text.replace("\r\n", "\n").removeprefix("\ufeff"))
        except tomllib.TOMLDecodeError as error:
            raise _translated(text, error) from None
        except RecursionError:
            raise Unparsable("nested too deeply", 1, 1) from None

    def put(self, text: str, path: KeyPath, value: JsonValue) -> str:
        """The text with a value at a path. Raises Unparsable."""
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        self.parse(text)
        try:
            document = tomlkit.parse(text)
            table: MutableMapping[str, Any] = document
            for depth, key in enumerate(path[:-1]):
                if key not in table:
                    table[key] = tomlkit.table(is_super_table=depth == 0 and isinstance(value, dict))
                table = table[key]
                if not hasattr(table, "items"):
                    raise Unparsable(f"{key!r} is no table", 1, 1)
            new = table[path[-1]] = _made(value, inline=isinstance(table, tomlkit.items.InlineTable))
            after = tomlkit.dumps(document)
            if isinstance(new, tomlkit.items.Table) and f"{new.as_string()}[" in after:
                new.add(tomlkit.nl())  # before the table that follows
                after = tomlkit.dumps(document)
        except (TOMLKitError, ValueError, TypeError, RecursionError) as error:
            raise Unparsable(str(error), 1, 1) from None
        return after

    def drop(self, text: str, path: KeyPath) -> str:
        """The text without what is at a path. Raises Unparsable."""
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        self.parse(text)
        try:
            document = tomlkit.parse(text)
            table: MutableMapping[str, Any] = document
            for key in path[:-1]:
                if key not in table:
                    return text
                table = table[key]
            if path[-1] not in table:
                return text
            del table[path[-1]]
            after = tomlkit.dumps(document)
        except (TOMLKitError, ValueError, TypeError, RecursionError) as error:
            raise Unparsable(str(error), 1, 1) from None
        bare = after.rstrip("\n")
        # It stood at the end: the blank line before it goes too.
        return f"{bare}\n" if bare and after.endswith("\n\n") and text.startswith(bare) else after


def _made(value: JsonValue, *, inline: bool) -> Any:
    """A value as tomlkit writes it: an object as a table with a header."""
    import tomlkit

    if not isinstance(value, dict):
        return tomlkit.item(value)
    table = tomlkit.inline_table() if inline else tomlkit.table()
    for key, each in value.items():
        table.add(key, _made(each, inline=inline))
    return table


def _translated(text: str, error: tomllib.TOMLDecodeError) -> Unparsable:
    """The place is in the message only (Python 3.14 has attributes)."""
    import re

    message = str(error)
    if found := re.search(r" \(at line (\d+), column (\d+)\)$", message):
        return Unparsable(_lower(message[: found.start()]), int(found[1]), int(found[2]))
    line = text.count("\n") + 1
    return Unparsable(_lower(message.removesuffix(" (at end of document)")), line, len(text.split("\n")[-1]) + 1)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
