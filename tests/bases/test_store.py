"""The store: bases found again, listed, pruned, and whole after every kill."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandlot.bases.building import building_folder, sweep_building
from sandlot.bases.progress import Progress
from sandlot.bases.store import BaseStore
from sandlot.errors import BaseNotFound, StateUnwritable
from sandlot.model.base import OriginKind

from .seeding import everything_below, facts, merged, repository, seed, store_at

pytestmark = pytest.mark.usefixtures("no_clock_tick")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    for number in range(30):
        (root / f"f{number}").write_text(str(number))
    return root


def test_nothing_is_a_base_without_layers(store: BaseStore) -> None:
    base = seed(store, "")
    assert base.layers == ()
    assert base.origin.kind is OriginKind.NOTHING
    assert seed(store, "").cached


def test_a_base_is_found_by_its_id_or_the_beginning_of_it(store: BaseStore, project: Path) -> None:
    base = seed(store, project)
    found = seed(store, f"base:{base.id[:8]}")
    assert (found.id, found.layers, found.cached) == (base.id, base.layers, True)
    assert (found.origin.kind, found.origin.location) == (OriginKind.BASE, base.id)
    assert found.origin.files == 30
    with pytest.raises(BaseNotFound):
        seed(store, "base:ffffffffffff")


def test_the_same_content_elsewhere_is_the_same_base_with_its_own_origin(
    store: BaseStore, project: Path, tmp_path: Path
) -> None:
    first = seed(store, project)
    subprocess.run(["cp", "-a", project, tmp_path / "copy"], check=True)
    second = seed(store, tmp_path / "copy")
    assert (second.id, second.layers) == (first.id, first.layers)
    assert second.origin.location == os.fspath(tmp_path / "copy")
    assert seed(store, project).origin == first.origin


def test_many_at_once_build_it_once(store: BaseStore, project: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        bases = list(pool.map(lambda _: seed(store, project), range(16)))
    assert len({base.layers for base in bases}) == 1
    assert sum(not base.cached for base in bases) == 1


def test_bases_are_listed_the_last_used_first(store: BaseStore, project: Path) -> None:
    first = seed(store, project)
    (project / "f1").write_text("edited")
    second = seed(store, project)
    os.utime(store.paths.bases / f"{second.id}.json", (1, 1))
    listed = store.list()
    assert [info.base.id for info in listed] == [first.id, second.id]
    assert listed[0].bytes == first.stored_bytes
    assert listed[1].bytes == first.stored_bytes + len("edited")
    assert listed[1].used_at == "1970-01-01T00:00:01.000Z"


def test_prune_keeps_what_is_used_and_removes_the_rest(store: BaseStore, project: Path, tmp_path: Path) -> None:
    used = seed(store, project)
    other = repository(tmp_path / "other")
    (other / "a.txt").chmod(0o444)
    other.chmod(0o555)
    unused = seed(store, other)
    private = store.paths.layer("s" + "0" * 24)
    private.mkdir()
    planned = store.prune(lambda: set(used.layers), dry_run=True)
    assert planned.bases == (unused.id,)
    assert len(everything_below(store.paths.bases)) == 2
    pruned = store.prune(lambda: set(used.layers))
    assert (pruned.bases, pruned.layers) == ((unused.id,), tuple(sorted(unused.layers)))
    assert pruned.bytes == planned.bytes == unused.stored_bytes
    assert sorted(os.listdir(store.paths.layers)) == sorted([*used.layers, private.name])
    assert os.listdir(store.paths.trash) == []
    assert seed(store, project).cached
    again = seed(store, other)
    assert not again.cached
    assert again.id == unused.id
    other.chmod(0o755)


def test_a_layer_in_use_keeps_the_bases_that_share_it(store: BaseStore, project: Path) -> None:
    first = seed(store, project)
    (project / "f1").write_text("edited")
    seed(store, project)
    assert store.prune(lambda: {first.layers[0]}).bases == ()


def test_prune_spares_what_was_used_lately(store: BaseStore, project: Path) -> None:
    base = seed(store, project)
    assert store.prune(set, unused_for_s=3600).bases == ()
    os.utime(store.paths.bases / f"{base.id}.json", (1, 1))
    assert store.prune(set, unused_for_s=3600).bases == (base.id,)
    assert everything_below(store.paths.sources) == []


def test_prune_waits_while_a_base_is_taken_into_use(store: BaseStore) -> None:
    with store.in_use(), open(store.paths.bases_lock, "rb") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others may create meanwhile


def test_a_damaged_record_is_built_again(store: BaseStore, project: Path) -> None:
    base = seed(store, project)
    for record in [store.paths.bases / f"{base.id}.json", *store.paths.sources.iterdir()]:
        record.write_bytes(b'{"version": 1, "base": 7')
    assert store.list() == ()
    again = seed(store, project)
    assert (again.id, again.layers) == (base.id, base.layers)


def test_live_builds_are_not_swept_and_dead_ones_are(store: BaseStore) -> None:
    store.paths.ensure()
    (store.paths.building / "left by a crash").mkdir()
    (store.paths.building / "left by a crash" / "deep").mkdir(mode=0o555)
    (store.paths.building / "stray").write_text("x")
    with building_folder(store.paths) as live:
        assert sweep_building(store.paths) == 2
        assert os.listdir(store.paths.building) == [live.name]
    assert os.listdir(store.paths.building) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_folder_that_cannot_be_written_is_told(store: BaseStore, project: Path) -> None:
    store.paths.ensure()
    store.paths.building.chmod(0o500)
    with pytest.raises(StateUnwritable):
        seed(store, project)
    store.paths.building.chmod(0o700)


_KILLED = """
import os, signal, sys
from pathlib import Path
import sandlot.bases.building, sandlot.bases.layer, sandlot.bases.records
from sandlot.bases.source import classify
from sandlot.bases.store import BaseStore
from sandlot.paths import Paths

count = int(sys.argv[3])
def counted(event, arguments):
    global count
    if event in {"os.rename", "os.mkdir", "os.link", "os.utime", "os.chmod", "os.remove", "os.truncate"}:
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(counted)
base = BaseStore(Paths.at(Path(sys.argv[1]))).obtain(classify(sys.argv[2], cwd=Path("/")))
print(base.id)
"""


@pytest.mark.parametrize("kind", ["folder", "git"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_state(tmp_path: Path, project: Path, kind: str) -> None:
    source = project if kind == "folder" else repository(tmp_path / "repository")
    expected = seed(store_at(tmp_path / "untouched"), source).id
    moment = 1
    finished = False
    while not finished:
        state = tmp_path / f"state{moment}"
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, state, source, str(moment)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=False,
        )
        finished = done.returncode == 0
        assert finished or done.returncode == -signal.SIGKILL, done.stderr.decode()
        store = store_at(state)
        store.paths.ensure()
        for info in store.list():  # what is listed is whole
            assert info.base.id == expected
            shown = merged(store, info.base, tmp_path / f"merged{moment}")
            assert {**facts(shown)} == facts(source)
        base = seed(store, source)
        assert base.id == expected
        sweep_building(store.paths)
        assert [name for name in os.listdir(store.paths.building) if not name.startswith("lock-")] == []
        moment += 1 if moment < 10 else 7


def test_progress_is_reported_by_phase_and_not_too_often(store: BaseStore, project: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    from sandlot.bases.source import classify

    store.obtain(classify(os.fspath(project), cwd=Path("/")), lambda *report: seen.append(report))
    assert [phase for phase, _, _ in seen][:2] == ["reading the folder", "copying files"]
    times = iter([0.0, 0.05, 0.09, 0.11, 0.12])
    reports: list[int] = []
    progress = Progress(lambda _, done, __: reports.append(done))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandlot.bases.progress.time.monotonic", lambda: next(times))
        for number in range(5):
            progress("phase", number, 5)
    assert reports == [0, 3]


def test_records_survive_names_that_are_not_text(store: BaseStore, tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd \xff"))
    root.mkdir()
    os.mkfifo(Path(os.fsdecode(os.fsencode(root) + b"/pipe \xfe")))
    base = seed(store, root)
    again = seed(store, root)
    assert again.cached
    assert again.origin == base.origin
    assert again.origin.skipped == ("pipe \udcfe",)
    json.loads((store.paths.bases / f"{base.id}.json").read_text())


def test_prune_of_named_bases_leaves_all_others(store: BaseStore, project: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("other")
    named = seed(store, project)
    other = seed(store, tmp_path / "other")
    assert store.prune(lambda: set(named.layers), only={named.id}).bases == ()  # something stands on it
    assert store.prune(set, only={named.id}).bases == (named.id,)
    assert [info.base.id for info in store.list()] == [other.id]
