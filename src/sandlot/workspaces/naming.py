"""What names and labels may be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sandlot.errors import UsageError

__all__ = ["check_labels", "check_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL_VALUE_MAX = 256


def check_name(name: str, what: str) -> str:
    """A name that is safe in a shell, a path and a table. Raises UsageError."""
    if not _NAME.fullmatch(name) or name.startswith("ws-"):
        raise UsageError(
            f"{name!r} is not a valid {what} name",
            hint="up to 64 letters, digits, '.', '_' and '-', starting with a letter or digit, not with 'ws-'",
        )
    return name


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels with valid keys and one-line values. Raises UsageError."""
    for key, value in labels.items():
        if not _NAME.fullmatch(key):
            raise UsageError(f"{key!r} is not a valid label key", hint="letters, digits, '.', '_' and '-'")
        if len(value) > _LABEL_VALUE_MAX or not value.isprintable():
            raise UsageError(f"the value of label {key!r} is not one printable line of at most {_LABEL_VALUE_MAX}")
    return dict(labels)
