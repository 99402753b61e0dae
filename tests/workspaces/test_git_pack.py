"""PackWriter: git itself checks every byte of what we write."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sandlot.workspaces.git_pack import PackWriter
from sandlot.workspaces.private_git import PrivateGit, private_git

NAMES = st.binary(min_size=1, max_size=8).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
)


def git(place: PrivateGit, *arguments: str) -> bytes:
    done = place.run(arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@settings(max_examples=25, deadline=None)
@given(files=st.dictionaries(NAMES, st.binary(max_size=300), max_size=20), folder=NAMES)
def test_git_finds_the_pack_whole_and_every_object_in_it(files: dict[bytes, bytes], folder: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch, private_git(Path(scratch)) as place:
        with PackWriter(place.root / "objects") as pack:
            blobs = {name: pack.add_blob(len(data), [data]) for name, data in files.items()}
            inner = pack.add_tree((name, b"100644", blob) for name, blob in blobs.items())
            outer = pack.add_tree([(folder, b"40000", inner), (folder + b".x", b"40000", inner)])
            pack.finish()
        git(place, "fsck", "--strict", "--no-dangling", outer.hex())
        git(place, "verify-pack", *[str(index) for index in (place.root / "objects" / "pack").glob("*.idx")])
        listed = git(place, "ls-tree", "-z", inner.hex()).split(b"\0")[:-1]
        assert {line.partition(b"\t")[2]: line.split()[2].decode() for line in listed} == {
            name: blob.hex() for name, blob in blobs.items()
        }
        for name, blob in blobs.items():
            assert git(place, "cat-file", "blob", blob.hex()) == files[name]


def test_content_given_in_pieces_is_stored_once_however_often_it_comes(tmp_path: Path) -> None:
    with private_git(tmp_path) as place:
        with PackWriter(place.root / "objects") as pack:
            one = pack.add_blob(5_000_000, (b"x" * 1_000_000 for _ in range(5)))
            assert pack.add_blob(5_000_000, [b"x" * 5_000_000]) == one
            other = pack.add_blob(3, [b"end"])
            pack.finish()
        (file,) = (place.root / "objects" / "pack").glob("*.pack")
        assert file.stat().st_size < 5_100_000
        assert git(place, "cat-file", "-s", one.hex()) == b"5000000\n"
        assert git(place, "cat-file", "blob", other.hex()) == b"end"
        expected = subprocess.run(["git", "hash-object", "--stdin"], input=b"end", capture_output=True, check=True)
        assert expected.stdout.decode().strip() == other.hex()
