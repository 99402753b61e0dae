"""Seeding again after a change: only what changed is written, and the result is what a fresh seed gives."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandlot.bases.store import BaseStore
from sandlot.bases.trees import remove_tree
from sandlot.bases.writing import TreeWriter, WhiteoutRefused

from .seeding import facts, merged, seed, store_at

pytestmark = pytest.mark.usefixtures("no_clock_tick")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for number in range(100):
        folder = root / f"d{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_text(f"{number}\n")
    return root


def fresh(tmp_path: Path, project: Path) -> str:
    remove_tree(tmp_path / "fresh")
    return seed(store_at(tmp_path / "fresh"), project).id


def test_an_edit_writes_one_file(store: BaseStore, project: Path, tmp_path: Path) -> None:
    first = seed(store, project)
    (project / "d3/f3").write_text("edited")
    base = seed(store, project)
    assert base.layers[:-1] == first.layers
    assert base.stored_bytes == len("edited")
    assert facts(merged(store, base, tmp_path / "merged")) == facts(project)
    assert base.id == fresh(tmp_path, project)


def test_an_edit_that_keeps_size_and_mtime_is_seen(store: BaseStore, project: Path, tmp_path: Path) -> None:
    seed(store, project)
    info = (project / "d3/f3").stat()
    (project / "d3/f3").write_text("X\n")
    os.utime(project / "d3/f3", ns=(info.st_mtime_ns, info.st_mtime_ns))
    base = seed(store, project)
    assert (merged(store, base, tmp_path / "merged") / "d3/f3").read_text() == "X\n"


def test_deleted_files_and_folders_are_gone(store: BaseStore, project: Path, tmp_path: Path) -> None:
    seed(store, project)
    shutil.rmtree(project / "d1")
    (project / "d2/f2").unlink()
    base = seed(store, project)
    assert len(base.layers) == 2
    assert facts(merged(store, base, tmp_path / "merged")) == facts(project)
    assert base.id == fresh(tmp_path, project)


def test_a_path_may_turn_from_folder_to_file_and_back(store: BaseStore, project: Path, tmp_path: Path) -> None:
    seed(store, project)
    for step in range(4):
        if step % 2:
            (project / "d1").unlink()
            (project / "d1").mkdir()
            (project / "d1" / f"new{step}").write_text("n")
        else:
            shutil.rmtree(project / "d1")
            (project / "d1").write_text("file")
        base = seed(store, project)
        assert len(base.layers) == 2 + step
        assert facts(merged(store, base, tmp_path / f"merged{step}")) == facts(project)
        assert base.id == fresh(tmp_path, project)


def test_many_edits_end_in_a_flat_layer_again(store: BaseStore, project: Path, tmp_path: Path) -> None:
    sizes = []
    for step in range(10):
        (project / "d3/f3").write_text(f"edit {step}")
        sizes.append(len(seed(store, project).layers))
    assert max(sizes) == 8
    assert sizes[8] == 1


def test_all_names_of_a_changed_file_move_together(store: BaseStore, project: Path, tmp_path: Path) -> None:
    os.link(project / "d3/f3", project / "d4/twin")
    seed(store, project)
    with open(project / "d3/f3", "a") as file:
        file.write("more")
    base = seed(store, project)
    tree = merged(store, base, tmp_path / "merged")
    assert len(base.layers) == 2
    assert (tree / "d3/f3").stat().st_ino == (tree / "d4/twin").stat().st_ino
    (project / "d3/f3").unlink()
    base = seed(store, project)
    assert (merged(store, base, tmp_path / "merged2") / "d4/twin").read_text() == "3\nmore"
    assert base.id == fresh(tmp_path, project)


def test_a_change_back_gives_the_base_of_before(store: BaseStore, project: Path) -> None:
    first = seed(store, project)
    folder = project.stat()
    (project / "extra").write_text("x")
    seed(store, project)
    (project / "extra").unlink()
    os.utime(project, ns=(folder.st_mtime_ns, folder.st_mtime_ns))
    again = seed(store, project)
    assert (again.id, again.layers) == (first.id, first.layers)
    assert again.cached


def test_without_whiteouts_it_is_built_flat(
    store: BaseStore, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(store, project)
    (project / "d2/f2").unlink()
    write = TreeWriter.write

    def refuse(self: TreeWriter, entries: object, gone: object = ()) -> None:
        if gone:
            raise WhiteoutRefused
        write(self, entries)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(TreeWriter, "write", refuse)
    base = seed(store, project)
    assert len(base.layers) == 1
    assert facts(merged(store, base, tmp_path / "merged")) == facts(project)


def test_a_lost_layer_is_built_again(store: BaseStore, project: Path, tmp_path: Path) -> None:
    base = seed(store, project)
    remove_tree(store.paths.layer(base.layers[0]))
    again = seed(store, project)
    assert again.id == base.id
    assert not again.cached
    assert facts(merged(store, again, tmp_path / "merged")) == facts(project)


_NAMES = st.sampled_from(["a", "b", "c", "a/a", "a/b", "b/a", "a/a/a", "b/c/a"])
_STEP = st.tuples(st.sampled_from(["write", "folder", "link", "twin", "remove"]), _NAMES, _NAMES)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_STEP, max_size=6), min_size=1, max_size=4))
def test_any_history_of_changes_ends_in_what_the_folder_holds(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, str, str]]]
) -> None:
    scratch = tmp_path_factory.mktemp("history")
    project = scratch / "project"
    for number in range(40):  # so that a few changes are few
        (project / "still").mkdir(parents=True, exist_ok=True)
        (project / "still" / str(number)).write_text("x")
    store = store_at(scratch / "state")
    for number, steps in enumerate(rounds):
        for step in steps:
            _do(project, *step)
        base = seed(store, project)
        assert facts(merged(store, base, scratch / f"merged{number}")) == facts(project)
        assert base.id == fresh(scratch, project)
    remove_tree(scratch)


def _do(project: Path, verb: str, name: str, other: str) -> None:
    path = project / name
    try:
        if verb == "remove":
            remove_tree(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if verb == "write":
            path.write_text(other)
        elif verb == "folder":
            path.mkdir(exist_ok=True)
        elif verb == "link":
            path.symlink_to(other)
        else:
            os.link(project / other, path)
    except OSError:
        pass  # a step that does not fit the state is no step
