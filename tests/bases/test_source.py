"""Telling what the user asked to start from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandlot.bases.source import classify, without_credentials
from sandlot.errors import PathNotFound, UsageError
from sandlot.model.base import OriginKind

from .seeding import git, repository


@pytest.fixture
def here(tmp_path: Path) -> Path:
    repository(tmp_path / "checkout")
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    (tmp_path / "plain").mkdir()
    for name in ("a.tar", "a.tar.gz", "a.TGZ", "a.tar.zst", "a.zip", "a.rar"):
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.tar")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "kind", "location"),
    [
        ("", OriginKind.NOTHING, ""),
        ("plain", OriginKind.FOLDER, "{}/plain"),
        ("plain/../plain/", OriginKind.FOLDER, "{}/plain"),
        ("checkout", OriginKind.GIT, "{}/checkout"),
        ("bare.git", OriginKind.GIT, "{}/bare.git"),
        ("a.tar", OriginKind.ARCHIVE, "{}/a.tar"),
        ("a.tar.gz", OriginKind.ARCHIVE, "{}/a.tar.gz"),
        ("a.TGZ", OriginKind.ARCHIVE, "{}/a.TGZ"),
        ("a.tar.zst", OriginKind.ARCHIVE, "{}/a.tar.zst"),
        ("a.zip", OriginKind.ARCHIVE, "{}/a.zip"),
        ("https://example.invalid/x.git", OriginKind.GIT, "https://example.invalid/x.git"),
        ("ssh://git@example.invalid/x", OriginKind.GIT, "ssh://git@example.invalid/x"),
        ("git@example.invalid:team/x.git", OriginKind.GIT, "git@example.invalid:team/x.git"),
        ("file:///srv/x.git", OriginKind.GIT, "file:///srv/x.git"),
        ("base:0123abc", OriginKind.BASE, "0123abc"),
    ],
)
def test_each_kind_is_recognised(here: Path, text: str, kind: OriginKind, location: str) -> None:
    source = classify(text, cwd=here)
    assert (source.kind, source.location) == (kind, location.format(here))


def test_only_a_working_copy_is_a_checkout(here: Path) -> None:
    assert classify("checkout", cwd=here).checkout
    assert not classify("bare.git", cwd=here).checkout
    assert classify("https://example.invalid/x", cwd=here).remote


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("plain", {"ref": "main"}),
        ("plain", {"include_ignored": True}),
        ("a.tar", {"committed_only": True}),
        ("", {"ref": "main"}),
        ("base:abc", {"ref": "main"}),
        ("bare.git", {"include_ignored": True}),
        ("https://example.invalid/x", {"include_ignored": True}),
        ("checkout", {"include_ignored": True, "committed_only": True}),
        ("checkout", {"include_ignored": True, "ref": "main"}),
        ("checkout", {"ref": "--upload-pack=evil"}),
        ("checkout", {"ref": "a b"}),
        ("checkout", {"ref": ""}),
    ],
)
def test_options_that_do_not_apply_are_refused(here: Path, text: str, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        classify(text, cwd=here, **options)  # type: ignore[arg-type]  # as given


@pytest.mark.parametrize("text", ["ext::sh -c true", "ftp://x/y", "a.rar", "pipe.tar", "base:", "base:../x", "a\0b"])
def test_what_cannot_be_a_source_is_refused(here: Path, text: str) -> None:
    with pytest.raises(UsageError):
        classify(text, cwd=here)


@pytest.mark.parametrize("text", ["missing", "./missing", "/missing/folder", "a.zip/inside", "-x:y"])
def test_a_missing_path_is_told(here: Path, text: str) -> None:
    with pytest.raises(PathNotFound) as failure:
        classify(text, cwd=here)
    assert failure.value.hint


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@example.invalid/x.git", "https://example.invalid/x.git"),
        ("https://token@example.invalid/x.git?a=secret#b", "https://example.invalid/x.git"),
        ("https://user:p@ss@example.invalid/x", "https://example.invalid/x"),
        ("ssh://git:secret@example.invalid/x", "ssh://git@example.invalid/x"),
        ("git@example.invalid:x", "git@example.invalid:x"),
        ("file:///srv/x", "file:///srv/x"),
    ],
)
def test_credentials_are_taken_out_of_urls(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
