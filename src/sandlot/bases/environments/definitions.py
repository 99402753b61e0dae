"""Environments that are built from the distribution's packages, as data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFINITIONS", "Definition"]


@dataclass(frozen=True, slots=True)
class Definition:
    """What an environment is made of."""

    name: str
    summary: str
    distribution: str
    """``Origin`` of its package lists."""
    release: str
    """Its code name."""
    packages: tuple[str, ...]
    """Beside the essential ones."""


_TOOLS = (
    "apt", "bash-completion", "bzip2", "ca-certificates", "curl", "diffutils", "file", "git", "gpgv", "jq", "less",
    "openssh-client", "patch", "procps", "python3", "ripgrep", "unzip", "xz-utils", "zip",
)  # fmt: skip
_BUILD = ("build-essential", "cmake", "gdb", "pkg-config", "python3-dev", "python3-pip", "python3-venv")
_KEYRING = {"Debian": "debian-archive-keyring"}


def _debian(version: str, release: str) -> list[Definition]:
    common = (*_TOOLS, _KEYRING["Debian"])
    return [
        Definition(f"debian:{version}", "shell, git, Python, the usual small tools", "Debian", release, common),
        Definition(
            f"debian:{version}-build", "and compilers, make, pip", "Debian", release, (*common, *_BUILD)
        ),
        Definition(f"debian:{version}-node", "and Node.js, npm", "Debian", release, (*common, "nodejs", "npm")),
    ]  # fmt: skip


DEFINITIONS = {each.name: each for each in _debian("12", "bookworm")}
