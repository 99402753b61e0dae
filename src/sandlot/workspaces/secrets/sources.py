"""What callers say about secrets: names, where the value comes from, where it may go. Values never come in argv."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from sandlot.errors import PathNotFound, UsageError
from sandlot.model.secret import Secret
from sandlot.runtimes.bubblewrap.plan import environment
from sandlot.workspaces.secrets.bound_host import BoundHost

__all__ = ["LEAST", "MOST", "TRUST_VARIABLES", "Given", "check_name", "checked", "given", "read_content", "read_source"]

LEAST = 8
"""Characters: anything shorter could not be redacted without blanking out ordinary text."""
MOST = 8192
"""Bytes: what servers take as one header."""
REVEAL_ONLY = "-"
"""In the place of hosts."""
SYNTAX = "NAME=env:VAR@HOST, NAME=file:PATH@HOST[,HOST...], or NAME@HOST for the variable of that name"
TRUST_VARIABLES = (
    "AWS_CA_BUNDLE", "BUNDLE_SSL_CA_CERT", "CARGO_HTTP_CAINFO", "CURL_CA_BUNDLE", "DENO_CERT", "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "npm_config_cafile",
)  # fmt: skip
"""Each names a bundle of certificates to somebody's TLS: set when a secret makes us open TLS."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NOT_OURS = re.compile(r"(?i)(https?|all|ftp|no)_proxy|LD_.*")


@dataclass(frozen=True, slots=True)
class Given:
    """A secret with its value, checked."""

    name: str
    hosts: tuple[str, ...]
    value: str = field(repr=False)


def given(secrets: Iterable[str | tuple[str, Secret]]) -> tuple[Given, ...]:
    """Secrets of the command line (``NAME=SOURCE@HOST``) or of the SDK, values read. Raises UsageError, PathNotFound.

    Nothing of a value is in any error.
    """
    found: dict[str, Given] = {}
    for each in secrets:
        name, secret = _parsed(each) if isinstance(each, str) else each
        if name in found:
            raise UsageError(f"the secret {name} is given twice")
        found[name] = checked(name, _value(name, secret), secret.hosts)
    return tuple(found.values())


def checked(name: str, value: str, hosts: Iterable[str]) -> Given:
    """Name, hosts and value as they will be kept. Raises UsageError."""
    check_name(name)
    if isinstance(hosts, str):
        raise UsageError(f"the hosts of the secret {name} must be a list of hosts")
    bound = dict.fromkeys(str(BoundHost.parse(host)) for host in hosts)
    if any(not char.isprintable() for char in value):
        raise UsageError(
            f"the value of {name} holds a control character, such as a line break",
            hint="only a single line can go into a request",
        )
    if value != value.strip():
        raise UsageError(
            f"the value of {name} begins or ends with a blank", hint="no header can carry that; cut it off"
        )
    if len(value) < LEAST or len(value.encode("utf-8", "surrogatepass")) > MOST:
        raise UsageError(f"the value of {name} must have {LEAST} characters at least and {MOST} bytes at most")
    return Given(name, tuple(bound), value)


def check_name(name: str) -> None:
    """It becomes an environment variable, and must not take the place of one that means something. UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a secret", hint="letters, digits and _, as for a variable")
    if name in environment() or name in TRUST_VARIABLES or _NOT_OURS.fullmatch(name):
        raise UsageError(f"a secret cannot be called {name}: that variable means something else inside")


def _parsed(text: str) -> tuple[str, Secret]:
    # A value given by mistake in the place of a source must not come back in an error: only the name is ever told.
    left, at, hosts = text.rpartition("@")
    name, equals, source = (left if at else text).partition("=")
    if not _NAME.fullmatch(name):
        raise UsageError("a secret needs a name in front", hint=SYNTAX)
    if not at or not hosts:
        raise UsageError(
            f"the secret {name} is not bound to a host",
            hint=f"{name}=SOURCE@HOST, or {name}=SOURCE@{REVEAL_ONLY} when only --reveal is to hand it out",
        )
    bound = () if hosts == REVEAL_ONLY else tuple(hosts.split(","))
    return name, _sourced(name, source if equals else f"env:{name}", bound)


def _sourced(name: str, source: str, hosts: tuple[str, ...]) -> Secret:
    kind, colon, rest = source.partition(":")
    if not colon or not rest or kind not in ("env", "file"):
        raise UsageError(f"it is not said where the value of {name} is", hint=SYNTAX)
    return Secret(hosts=hosts, env=rest) if kind == "env" else Secret(hosts=hosts, file=rest)


def read_source(name: str, source: str) -> str:
    """The value at ``env:VAR`` or ``file:PATH``. Raises UsageError, PathNotFound."""
    return _value(name, _sourced(name, source, ()))


def _value(name: str, secret: Secret) -> str:
    if sum(each is not None for each in (secret.value, secret.env, secret.file)) != 1:
        raise UsageError(f"the secret {name} needs exactly one of value, env and file")
    if secret.value is not None:
        return secret.value
    if secret.env is not None:
        value = os.environ.get(secret.env)
        if value is None:
            raise UsageError(f"the environment variable {secret.env} for the secret {name} is not set")
        return value
    path = os.path.expanduser(secret.file or "")
    try:
        with open(path, "rb") as file:
            return read_content(name, file)
    except OSError as error:
        reason = f"cannot read {path} for the secret {name}: {error.strerror}"
        raise PathNotFound(reason, hint="name a file of the host") from error
    except ValueError as error:
        raise UsageError(f"{path!r} is not a file name") from error


def read_content(name: str, content: bytes | BinaryIO) -> str:
    """The value in a file or a stream; one line break at its end is no part of it. Raises UsageError."""
    data = content[: MOST + 3] if isinstance(content, bytes) else _read(content, MOST + 3)
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"the value of {name} is not UTF-8 text") from None


def _read(stream: BinaryIO, most: int) -> bytes:
    """From a pipe, too, that answers less at once."""
    found = b""
    while len(found) < most and (data := stream.read(most - len(found))):
        found += data
    return found
