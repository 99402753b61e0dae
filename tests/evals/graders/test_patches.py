from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.evals.graders.patches import without

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..", ".git") and name.lower() != ".git"
)
CONTENTS = st.sampled_from(
    [b"a\n", b"diff --git a/x b/x\n", b"\0\1binary", b"--- a/evil\n+++ b/evil\n", b"no newline", b""]
)


def git(folder: Path, *words: str) -> bytes:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=True,
    ).stdout


def patch_of(folder: Path, before: dict[str, bytes], after: dict[str, bytes]) -> bytes:
    git(folder, "init", "-q", ".")
    for name, content in before.items():
        (folder / name).write_bytes(content)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-qm", "x", "--allow-empty")
    for name in before:
        (folder / name).unlink()
    for name, content in after.items():
        (folder / name).write_bytes(content)
    git(folder, "add", "-A", "-f")
    return git(folder, "diff", "--cached", "--binary", "--find-renames", "HEAD")


def test_sections_are_told_apart_by_both_of_their_names(tmp_path: Path) -> None:
    long = b"".join(b"line %d\n" % number for number in range(50))
    patch = patch_of(
        tmp_path,
        {"moved.py": long, "kept.py": b"a\n", "a b.py": b"x\n", "m.sh": b"m\n"},
        {"conftest.py": long, "kept.py": b"diff --git a/conftest.py b/conftest.py\n", "a b.py": b"y\n", "m.sh": b"m\n"},
    )
    assert b"rename from moved.py" in patch
    assert b"conftest.py" in without(patch, lambda _: False)
    left = without(patch, lambda path: path == "conftest.py")
    assert b"rename" not in left
    assert b"+diff --git a/conftest.py" in left
    assert b"a b.py" not in without(patch, lambda path: path == "a b.py")


def test_a_change_of_mode_alone_has_a_name_too(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", ".")
    path = tmp_path / "umläut b" / "x.sh"
    path.parent.mkdir()
    path.write_text("x")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "x")
    path.chmod(0o755)
    patch = git(tmp_path, "diff", "--binary")
    assert patch
    assert without(patch, lambda each: each == "umläut b/x.sh") == b""
    assert without(patch, lambda each: each != "umläut b/x.sh") == patch


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAMES, CONTENTS, max_size=3), st.dictionaries(NAMES, CONTENTS, max_size=3), st.integers(0, 5))
def test_what_is_kept_applies_and_what_is_left_out_is_untouched(
    tmp_path_factory: object, before: dict[str, bytes], after: dict[str, bytes], which: int
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        patch = patch_of(root, before, after)
        names = sorted({*before, *after})
        if not names:
            return
        protected = names[which % len(names)]
        left = without(patch, lambda path: path == protected)
        git(root, "reset", "-q", "--hard")
        if left:
            (root / ".git" / "p").write_bytes(left)
            git(root, "apply", ".git/p")
        found = (root / protected).read_bytes() if (root / protected).exists() else None
        assert found == before.get(protected)
