"""Hashing and copying the content of files."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandlot.bases import content
from sandlot.bases.content import Truncated, copy_hashed, write_stream

_PIECES = st.lists(st.tuples(st.sampled_from(["data", "zeros", "hole"]), st.integers(0, 9000)), max_size=8)


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_PIECES)
def test_a_file_is_copied_and_hashes_the_same_however_its_zeros_are_stored(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("content")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "CHUNK", 4096)
        patch.setattr(content, "_ZEROS", bytes(4096))
        with open(folder / "sparse", "wb") as file:
            for kind, size in pieces:
                if kind == "hole":
                    file.seek(size, os.SEEK_CUR)
                else:
                    file.write(b"x" * size if kind == "data" else bytes(size))
            file.truncate(file.tell())
        data = (folder / "sparse").read_bytes()
        (folder / "dense").write_bytes(data)
        digests = set()
        for name in ("sparse", "dense"):
            with open(folder / name, "rb") as source, open(folder / f"{name} copy", "wb") as target:
                digest, _ = copy_hashed(source.fileno(), len(data), target.fileno())
            with open(folder / name, "rb") as source:
                assert copy_hashed(source.fileno(), len(data), None)[0] == digest
            assert (folder / f"{name} copy").read_bytes() == data
            digests.add(digest)
        with open(folder / "streamed", "wb") as target:
            digests.add(write_stream(io.BytesIO(data).read, len(data), target.fileno())[0])
        assert (folder / "streamed").read_bytes() == data
        assert len(digests) == 1
        if len(data) <= 4096:
            assert digests == {hashlib.sha256(data).hexdigest().encode()}


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_different_content_hashes_differently(tmp_path: Path, size: int) -> None:
    seen = set()
    for number, data in enumerate((bytes(size), b"x" + bytes(size - 1), bytes(size - 1) + b"x")):
        (tmp_path / str(number)).write_bytes(data)
        with open(tmp_path / str(number), "rb") as source:
            seen.add(copy_hashed(source.fileno(), size, None)[0])
    assert len(seen) == 3


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_file_that_is_too_short_is_noticed(tmp_path: Path, size: int) -> None:
    (tmp_path / "short").write_bytes(b"x" * (size - 1))
    with open(tmp_path / "short", "rb") as source, pytest.raises(Truncated):
        copy_hashed(source.fileno(), size, None)
    with open(tmp_path / "out", "wb") as target, pytest.raises(Truncated):
        write_stream(io.BytesIO(b"x" * (size - 1)).read, size, target.fileno())
