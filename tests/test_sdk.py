"""The Python SDK, every method against the real runtime."""

from __future__ import annotations

import io
import math
import os
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from sandlot import IsolationLevel, Sandlot, Workspace
from sandlot.errors import (
    CommandNotFound,
    FileRefused,
    IsolationUnavailable,
    NameTaken,
    PatchRejected,
    PathNotFound,
    SandlotError,
    SnapshotNotFound,
    TargetExists,
    UnsafePath,
    UsageError,
    WorkspaceNotFound,
)
from sandlot.model.command import CommandState
from sandlot.model.workspace import WorkspaceState
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.conftest import LEFT

PATCH = """--- a/greeting.txt
+++ b/greeting.txt
@@ -1 +1 @@
-hello
+good morning
"""
WRONG_CREATES: list[tuple[dict[str, object], type[SandlotError]]] = [
    ({"source": "/nowhere/at/all"}, PathNotFound),
    ({"name": "-x"}, UsageError),
    ({"name": ""}, UsageError),
    ({"name": "a" * 65}, UsageError),
    ({"name": "a\nb"}, UsageError),
    ({"labels": {"a b": "c"}}, UsageError),
    ({"labels": {"a": "b\nc"}}, UsageError),
    ({"ref": "main"}, UsageError),
    ({"runtime": "magic"}, UsageError),
    ({"min_isolation": "vm"}, IsolationUnavailable),
    ({"min_isolation": "adamantium"}, UsageError),
    ({"idle_timeout": 0}, UsageError),
    ({"idle_timeout": -1}, UsageError),
    ({"idle_timeout": math.nan}, UsageError),
    ({"idle_timeout": 1e12}, UsageError),
    ({"retention": "soon"}, UsageError),
    ({"toolchains": ["/nowhere"]}, PathNotFound),
    ({"toolchains": ["/"]}, UsageError),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder on the host."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "greeting.txt").write_text("hello\n")
    (folder / "src" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "src" / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def seeded(sandlot: Sandlot, project: Path) -> Workspace:
    """A workspace made from it."""
    return sandlot.create(project)


def processes_inside(workspace: Workspace) -> int:
    """How many of the sleeps that a test started are there (workers that are just ending are none of them)."""
    return len(workspace.exec(LEFT).stdout.text.splitlines())


class TestSandlot:
    def test_create_answers_with_facts(self, sandlot: Sandlot, project: Path) -> None:
        workspace = sandlot.create(project, name="one", labels={"issue": "1"}, idle_timeout=None, retention=3600)
        info = workspace.info
        assert (workspace.name, info.labels, info.state) == ("one", {"issue": "1"}, WorkspaceState.RUNNING)
        assert (info.idle_timeout_s, info.retention_s) == (None, 3600)
        assert (info.origin.kind, info.origin.location, info.origin.files) == ("folder", str(project), 2)
        assert info.isolation is IsolationLevel.KERNEL
        assert workspace.base
        assert "one" in repr(workspace)

    def test_the_end_of_a_with_statement_deletes_what_create_made(self, sandlot: Sandlot) -> None:
        with sandlot.create() as workspace:
            assert [info.id for info in sandlot.list()] == [workspace.id]
        assert sandlot.list() == []

    def test_a_workspace_deleted_inside_its_with_statement_is_no_error_at_its_end(self, sandlot: Sandlot) -> None:
        with sandlot.create() as workspace:
            workspace.delete()
        assert sandlot.list() == []

    def test_what_get_answers_with_belongs_to_somebody_else(self, sandlot: Sandlot, workspace: Workspace) -> None:
        with sandlot.get(workspace.id) as found:
            assert found.id == workspace.id
        assert [info.id for info in sandlot.list()] == [workspace.id]

    def test_an_error_inside_the_with_statement_passes_through(self, sandlot: Sandlot) -> None:
        with pytest.raises(ZeroDivisionError), sandlot.create():
            _ = 1 / 0
        assert sandlot.list() == []

    def test_workspaces_are_found_by_name_label_and_state(self, sandlot: Sandlot) -> None:
        first = sandlot.create(name="first", labels={"kind": "a"})
        second = sandlot.create(labels={"kind": "b", "more": "x"})
        assert sandlot.get("first").id == first.id
        assert [info.id for info in sandlot.list(labels={"kind": "b"})] == [second.id]
        assert [info.id for info in sandlot.list(name="first")] == [first.id]
        first.stop()
        assert [info.id for info in sandlot.list(state="stopped")] == [first.id]
        assert [info.id for info in sandlot.list()] == [second.id, first.id]
        first.exec(["true"])
        assert [info.id for info in sandlot.list()] == [first.id, second.id]

    def test_unknown_and_deleted_workspaces_are_not_found(self, sandlot: Sandlot) -> None:
        workspace = sandlot.create()
        workspace.delete()
        for key in (workspace.id, "nobody", "", "\udcff", "ws-0000000000000000"):
            with pytest.raises(WorkspaceNotFound) as caught:
                sandlot.get(key)
            assert caught.value.hint == "sandlot workspace list"
        with pytest.raises(WorkspaceNotFound):
            workspace.exec(["true"])

    def test_a_name_is_given_once(self, sandlot: Sandlot) -> None:
        sandlot.create(name="taken")
        with pytest.raises(NameTaken):
            sandlot.create(name="taken")
        assert len(sandlot.list()) == 1

    def test_a_wrong_create_makes_nothing(self, sandlot: Sandlot) -> None:
        for arguments, kind in WRONG_CREATES:
            with pytest.raises(kind) as caught:
                sandlot.create(**arguments)  # type: ignore[arg-type]  # wrong on purpose
            assert caught.value.message, arguments
        assert sandlot.list() == []

    def test_an_unknown_state_is_a_usage_error(self, sandlot: Sandlot) -> None:
        with pytest.raises(UsageError):
            sandlot.list(state="tired")

    def test_an_idle_timeout_longer_than_poll_can_count_works(self, sandlot: Sandlot) -> None:
        workspace = sandlot.create(idle_timeout=90 * 86400)
        assert workspace.exec(["true"], timeout=90 * 86400).ok

    def test_run_takes_a_source_and_leaves_no_workspace(self, sandlot: Sandlot, project: Path) -> None:
        result = sandlot.run(["cat", "greeting.txt"], source=project)
        assert (result.stdout.text, result.exit_status, result.origin.location) == ("hello\n", 0, str(project))
        assert sandlot.run("exit 3").exit_status == 3
        assert sandlot.list() == []

    def test_bases_are_shared_listed_and_pruned(self, sandlot: Sandlot, project: Path) -> None:
        first, second = sandlot.create(project), sandlot.create(project)
        assert first.base == second.base
        assert first.base in [each.base.id for each in sandlot.bases()]
        assert sandlot.create(f"base:{first.base}").exec(["cat", "greeting.txt"]).stdout.text == "hello\n"
        assert first.base not in sandlot.prune_bases().bases
        for info in sandlot.list():
            sandlot.get(info.id).delete()
        assert first.base in sandlot.prune_bases(dry_run=True).bases
        assert sandlot.prune_bases(unused_for=3600).bases == ()
        assert first.base in sandlot.prune_bases().bases

    def test_doctor_tries_everything_and_repair_finds_nothing_to_do(self, sandlot: Sandlot) -> None:
        report = sandlot.doctor(deep=True)
        assert report.ok
        assert {"deep.workspace", "git.version"} <= {finding.check for finding in report.findings}
        assert sandlot.repair().total == 0

    def test_progress_is_told_while_a_workspace_is_seeded(self, sandlot: Sandlot, project: Path) -> None:
        told: list[tuple[str, int, int]] = []
        sandlot.create(project, progress=lambda *step: told.append(step))
        assert told

    def test_one_sandlot_serves_many_threads(self, sandlot: Sandlot) -> None:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                with sandlot.create() as workspace:
                    assert workspace.exec(["echo", str(number)]).stdout.text == f"{number}\n"
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sandlot.list() == []

    def test_nothing_is_left_in_the_trash_by_what_throws_things_away(self, sandlot: Sandlot, state_dir: Path) -> None:
        sandlot.run(["true"])
        with sandlot.create() as workspace:
            workspace.files.write("a", "b")
            workspace.reset()
        sandlot.doctor(deep=True)
        assert list((state_dir / "trash").iterdir()) == []


class TestExec:
    def test_a_failing_command_is_a_result(self, workspace: Workspace) -> None:
        result = workspace.exec(["sh", "-c", "echo out; echo err >&2; exit 7"])
        assert (result.stdout.text, result.stderr.text, result.exit_status) == ("out\n", "err\n", 7)
        assert not result.ok
        assert result.command.outcome is not None
        assert result.command.outcome.state is CommandState.EXITED
        assert result.command.isolation is IsolationLevel.KERNEL

    def test_a_string_goes_through_the_shell(self, workspace: Workspace) -> None:
        assert workspace.exec("printf '%s|' a 'b c' | tr a-z A-Z").stdout.text == "A|B C|"

    def test_a_sequence_does_not(self, workspace: Workspace) -> None:
        assert workspace.exec(["echo", "$HOME", "*", "a b"]).stdout.text == "$HOME * a b\n"

    def test_paths_are_words_too(self, workspace: Workspace) -> None:
        assert workspace.exec(["echo", Path("a/b")]).stdout.text == "a/b\n"  # type: ignore[list-item]  # kind to users

    def test_no_command_is_a_usage_error(self, workspace: Workspace) -> None:
        for command in ([], [""], ["a\0b"]):
            with pytest.raises(UsageError):
                workspace.exec(command)
        assert workspace.status().commands == 0

    def test_programs_that_do_not_exist_or_cannot_run_have_the_status_of_a_shell(self, workspace: Workspace) -> None:
        assert workspace.exec(["no-such-program"]).exit_status == 127
        workspace.files.write("data", "x", mode="0644")
        assert workspace.exec(["./data"]).exit_status == 126

    def test_environment_and_folder(self, workspace: Workspace) -> None:
        workspace.exec(["mkdir", "-p", "a/b"])
        result = workspace.exec('echo "$NAME in $PWD"; pwd', env={"NAME": "x y"}, cwd="a/b")
        assert result.stdout.text == "x y in /workspace/a/b\n/workspace/a/b\n"
        assert workspace.exec(["pwd"], cwd="/tmp").stdout.text == "/tmp\n"

    def test_a_wrong_environment_is_a_usage_error(self, workspace: Workspace) -> None:
        for env in ({"A=B": "c"}, {"": "c"}, {"A": "b\0"}):
            with pytest.raises(UsageError):
                workspace.exec(["true"], env=env)

    def test_nothing_of_the_hosts_environment_comes_along(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
        assert "SECRET_OF_THE_HOST" not in workspace.exec(["env"]).stdout.text

    def test_standard_input_from_bytes_and_from_a_file_object(self, workspace: Workspace) -> None:
        data = bytes(range(256)) * 4096
        assert workspace.exec(["wc", "-c"], stdin=data).stdout.text.strip() == str(len(data))
        workspace.exec("cat > copy", stdin=io.BytesIO(data))
        assert os.fsencode(workspace.files.read("copy", max_bytes=len(data)).content) == data

    def test_without_standard_input_a_command_reads_an_end_of_file(self, workspace: Workspace) -> None:
        assert workspace.exec(["cat"]).stdout.text == ""

    def test_a_command_may_leave_its_input_unread(self, workspace: Workspace) -> None:
        assert workspace.exec(["true"], stdin=b"x" * (1 << 22)).ok

    def test_bytes_that_are_not_utf8_never_fail_a_call(self, workspace: Workspace) -> None:
        result = workspace.exec(["printf", r"a\377\000b"])
        assert result.stdout.text == "a\ufffd\0b"
        log = workspace.logs(result.command.number)
        assert os.fsencode(log.output or "") == b"a\xff\0b"

    def test_arguments_that_are_not_utf8_arrive_as_they_are(self, workspace: Workspace) -> None:
        result = workspace.exec(["printf", "%s", "\udcff"])
        assert os.fsencode(workspace.logs(result.command.number).output or "") == b"\xff"
        assert workspace.logs(search="\udcff").commands

    def test_output_streams_while_the_command_runs(self, workspace: Workspace) -> None:
        seen: list[tuple[str, bytes]] = []
        go = threading.Event()

        def sink(stream: str, data: bytes) -> None:
            seen.append((stream, data))
            if not go.is_set():
                go.set()
                workspace.files.write("go", "")  # the command waits for what its first output brings about

        result = workspace.exec("echo one; until [ -e go ]; do sleep 0.01; done; echo two >&2", on_output=sink)
        assert result.ok
        assert seen == [("stdout", b"one\n"), ("stderr", b"two\n")]

    def test_an_error_in_the_sink_ends_the_command(self, workspace: Workspace) -> None:
        def sink(_stream: str, _data: bytes) -> None:
            raise RuntimeError("enough")

        with pytest.raises(RuntimeError, match="enough"):
            workspace.exec("echo x; sleep 1000", on_output=sink, timeout=None)
        assert workspace.status().running == ()

    def test_long_output_keeps_head_and_tail_and_the_logs_have_the_rest(self, workspace: Workspace) -> None:
        result = workspace.exec(["seq", "1", "100000"], max_output=1000)
        total = sum(len(str(number)) + 1 for number in range(1, 100001))
        assert result.stdout.truncated
        assert result.stdout.total_bytes == total
        assert result.stdout.text.startswith("1\n2\n")
        assert result.stdout.text.endswith("99999\n100000\n")
        assert "bytes left out" in result.stdout.text
        assert len(result.stdout.text) < 1200
        whole, offset = "", 0
        while True:
            page = workspace.logs(result.command.number, offset=offset, limit=100_000)
            whole += page.output or ""
            if page.next_offset is None:
                break
            offset = page.next_offset
        assert whole == "".join(f"{number}\n" for number in range(1, 100001))
        assert page.total_bytes == total

    def test_a_timeout_ends_the_whole_tree_and_keeps_the_output(self, workspace: Workspace) -> None:
        before = processes_inside(workspace)
        result = workspace.exec("echo begun; (setsid sleep 1000 &) ; sleep 1000", timeout=0.2)
        assert (result.exit_status, result.stdout.text) == (124, "begun\n")
        assert result.command.outcome is not None
        assert result.command.outcome.state is CommandState.TIMED_OUT
        assert result.command.timeout_ms == 200
        assert processes_inside(workspace) == before

    def test_a_timeout_that_is_none_is_a_usage_error(self, workspace: Workspace) -> None:
        for timeout in (0, -1, math.nan, "1s"):
            with pytest.raises(UsageError):
                workspace.exec(["true"], timeout=timeout)  # type: ignore[arg-type]  # wrong on purpose

    def test_an_infinite_timeout_is_no_limit(self, workspace: Workspace) -> None:
        assert workspace.exec(["true"], timeout=math.inf).command.timeout_ms == 0
        assert workspace.exec(["true"], timeout=None).command.timeout_ms == 0
        assert workspace.exec(["true"]).command.timeout_ms == 120_000

    def test_a_signal_is_told_by_name(self, workspace: Workspace) -> None:
        result = workspace.exec("kill -SEGV $$")
        assert result.command.outcome is not None
        assert (result.command.outcome.signal, result.exit_status) == ("SIGSEGV", 139)

    def test_a_real_time_signal_has_a_status_too(self, workspace: Workspace) -> None:
        assert workspace.exec("kill -36 $$").exit_status == 128 + 36

    def test_cancelling_from_another_thread_ends_the_tree(self, workspace: Workspace) -> None:
        before = processes_inside(workspace)
        cancellation = Cancellation()
        with pytest.raises(Cancelled):
            workspace.exec(
                "(setsid sleep 1000 &) ; echo begun; sleep 1000",
                timeout=None,
                on_output=lambda *_: cancellation.cancel(),
                cancellation=cancellation,
            )
        assert processes_inside(workspace) == before
        (record,) = (each for each in workspace.logs().commands if "begun" in each.argv[-1])
        assert record.state is CommandState.KILLED

    def test_a_cancelled_call_runs_nothing(self, workspace: Workspace) -> None:
        cancellation = Cancellation()
        cancellation.cancel()
        with pytest.raises(Cancelled):
            workspace.exec(["true"], cancellation=cancellation)
        assert workspace.status().commands == 0

    def test_a_stopped_workspace_starts_by_itself(self, workspace: Workspace) -> None:
        workspace.files.write("kept", "x")
        workspace.stop()
        assert workspace.status().workspace.state is WorkspaceState.STOPPED
        assert workspace.exec(["cat", "kept"]).stdout.text == "x"


class TestBackground:
    def test_a_background_command_is_waited_for(self, workspace: Workspace) -> None:
        started = workspace.exec("until [ -e go ]; do sleep 0.01; done; echo done; exit 5", background=True)
        number = started.command.number
        assert (started.command.state, started.exit_status) == (CommandState.RUNNING, 0)
        assert [each.number for each in workspace.status().running] == [number]
        waited = workspace.wait(number, timeout=0)
        assert (waited.command.state, waited.exit_status) == (CommandState.RUNNING, 124)
        workspace.files.write("go", "")
        ended = workspace.wait(number, timeout=60)
        assert (ended.exit_status, ended.stdout.text) == (5, "done\n")
        assert workspace.wait(number).exit_status == 5

    def test_a_background_command_is_killed_with_its_tree(self, workspace: Workspace) -> None:
        before = processes_inside(workspace)
        number = workspace.exec("(setsid sleep 1000 &) ; sleep 1000", background=True).command.number
        assert workspace.kill(number).state is CommandState.KILLED
        assert processes_inside(workspace) == before
        assert workspace.kill(number).state is CommandState.KILLED

    def test_a_signal_reaches_the_command(self, workspace: Workspace) -> None:
        number = workspace.exec(
            "trap 'exit 9' USR1; touch ready; while :; do sleep 0.01; done", background=True
        ).command.number
        workspace.exec("until [ -e ready ]; do sleep 0.01; done")
        workspace.kill(number, signal="usr1")
        assert workspace.wait(number, timeout=60).exit_status == 9
        with pytest.raises(UsageError):
            workspace.kill(number, signal="SIGNONSENSE")

    def test_waiting_can_be_cancelled_and_the_command_goes_on(self, workspace: Workspace) -> None:
        number = workspace.exec(["sleep", "1000"], background=True).command.number
        cancellation = Cancellation()
        timer = threading.Timer(0.1, cancellation.cancel)
        timer.start()
        with pytest.raises(Cancelled):
            workspace.wait(number, cancellation=cancellation)
        timer.join()
        assert [each.number for each in workspace.status().running] == [number]

    def test_an_unknown_number_is_not_found(self, workspace: Workspace) -> None:
        for call in (workspace.wait, workspace.kill, workspace.logs):
            with pytest.raises(CommandNotFound):
                call(99)


class TestLogs:
    def test_history_is_numbered_paged_and_searchable(self, workspace: Workspace) -> None:
        for word in ("alpha", "beta", "gamma"):
            workspace.exec(["echo", word])
        page = workspace.logs(count=2)
        assert [each.number for each in page.commands] == [1, 2]
        assert [each.number for each in workspace.logs(after=page.next_after or 0).commands] == [3]
        assert [each.number for each in workspace.logs(search="bet").commands] == [2]
        assert workspace.logs(search="nowhere").commands == ()

    def test_history_survives_reset_and_stop(self, workspace: Workspace) -> None:
        workspace.exec(["echo", "before"])
        workspace.reset()
        workspace.stop()
        assert workspace.logs(1).output == "before\n"

    def test_wrong_arguments_are_usage_errors(self, workspace: Workspace) -> None:
        workspace.exec(["true"])
        wrong: dict[str, object] = {"stream": "stdin", "offset": -1, "limit": -1, "count": 0, "after": -1, "number": 0}
        for name, value in wrong.items():
            with pytest.raises(UsageError):
                workspace.logs(**{"number": 1, name: value})  # type: ignore[arg-type]  # wrong on purpose


class TestFiles:
    def test_write_read_and_list(self, workspace: Workspace) -> None:
        assert workspace.files.write("a/b.txt", "one\ntwo\nthree\n").created
        assert not workspace.files.write("a/b.txt", b"one\ntwo\nthree\n").created
        read = workspace.files.read("a/b.txt", first_line=2, lines=1)
        assert (read.content, read.complete, read.size) == ("two\n", False, 14)
        assert workspace.files.read("/workspace/a/b.txt", offset=4, max_bytes=3).content == "two"
        entries = workspace.files.list(recursive=True).entries
        assert [(entry.path, entry.kind) for entry in entries] == [("a", "folder"), ("a/b.txt", "file")]

    def test_content_comes_from_a_file_object(self, workspace: Workspace) -> None:
        data = os.urandom(1 << 20)
        workspace.files.write("data", io.BytesIO(data), mode="0600")
        read = workspace.files.read("data", max_bytes=1 << 21)
        assert (os.fsencode(read.content), read.mode) == (data, "0600")

    def test_a_source_that_breaks_off_leaves_the_old_file(self, workspace: Workspace) -> None:
        class Broken(io.RawIOBase):
            def __init__(self) -> None:
                self.left = 3

            def read(self, _size: int = -1) -> bytes:
                self.left -= 1
                if not self.left:
                    raise OSError("the cable was pulled")
                return b"x" * 100_000

        workspace.files.write("data", "old")
        with pytest.raises(OSError, match="cable"):
            workspace.files.write("data", Broken())  # type: ignore[arg-type]  # enough of a file
        assert workspace.files.read("data").content == "old"
        assert [entry.path for entry in workspace.files.list().entries] == ["data"]

    def test_search_move_and_delete(self, workspace: Workspace) -> None:
        workspace.files.write("a.py", "x = 1\ny = 2\n")
        (match,) = workspace.files.search(r"y = \d").matches
        assert (match.path, match.line, match.text) == ("a.py", 2, "y = 2")
        workspace.files.move("a.py", "b/c.py")
        assert workspace.files.delete("b", recursive=True).files == 1
        assert workspace.files.list().entries == ()

    def test_refusals(self, workspace: Workspace) -> None:
        with pytest.raises(PathNotFound):
            workspace.files.read("nowhere")
        with pytest.raises(UsageError):
            workspace.files.search("(")
        with pytest.raises(UsageError):
            workspace.files.read("x", first_line=1, offset=1)
        workspace.files.write("x", "")
        with pytest.raises(FileRefused):
            workspace.files.write("x", "", create_only=True)
        with pytest.raises(FileRefused):
            workspace.files.read(".")


class TestChanges:
    def test_patch_diff_and_stat(self, seeded: Workspace) -> None:
        assert seeded.patch(PATCH, check=True).checked_only
        assert seeded.diff().files == ()
        assert [each.path for each in seeded.patch(PATCH.encode()).files] == ["greeting.txt"]
        diff = seeded.diff()
        assert (diff.additions, diff.deletions) == (1, 1)
        assert "+good morning" in diff.patch
        assert len(diff.patch.encode()) == diff.patch_bytes
        assert seeded.diff(stat=True).patch == ""
        assert seeded.diff("src").files == ()
        assert [change.path for change in seeded.diff("greeting.txt", "src").files] == ["greeting.txt"]

    def test_a_patch_that_does_not_fit_changes_nothing_and_says_where(self, seeded: Workspace) -> None:
        with pytest.raises(PatchRejected) as caught:
            seeded.patch(PATCH.replace("hello", "bonjour"))
        assert caught.value.details
        assert seeded.diff().files == ()

    def test_a_path_outside_is_refused(self, seeded: Workspace) -> None:
        with pytest.raises(UnsafePath):
            seeded.diff("../etc")

    def test_a_long_patch_is_read_on_by_its_handle(self, seeded: Workspace) -> None:
        seeded.exec("seq 1 50000 > numbers")
        page = seeded.diff(max_bytes=1000)
        text = page.patch
        assert page.handle is not None
        while page.next_offset is not None:
            page = seeded.call("diff", handle=page.handle, offset=page.next_offset, max_bytes=100_000)
            text += page.patch
        assert text == seeded.diff().patch

    def test_apply_shows_first_and_changes_the_host_when_told(self, seeded: Workspace, project: Path) -> None:
        seeded.patch(PATCH)
        shown = seeded.apply()
        assert ([change.path for change in shown.files], shown.applied) == (["greeting.txt"], False)
        assert (project / "greeting.txt").read_text() == "hello\n"
        assert seeded.apply(yes=True).applied
        assert (project / "greeting.txt").read_text() == "good morning\n"

    def test_apply_without_a_folder_of_the_host_wants_one(self, workspace: Workspace, tmp_path: Path) -> None:
        workspace.files.write("new", "x")
        with pytest.raises(UsageError):
            workspace.apply()
        assert workspace.apply(target=tmp_path, yes=True).applied
        assert (tmp_path / "new").read_text() == "x"

    def test_export_a_file_a_folder_and_an_archive(self, seeded: Workspace, tmp_path: Path) -> None:
        assert seeded.export("greeting.txt", tmp_path / "copy").files == 1
        assert (tmp_path / "copy").read_text() == "hello\n"
        seeded.export("src", tmp_path / "folder")
        assert os.access(tmp_path / "folder" / "run.sh", os.X_OK)
        seeded.export(".", tmp_path / "all.tar.gz")
        with tarfile.open(tmp_path / "all.tar.gz") as archive:
            assert any(name.endswith("src/run.sh") for name in archive.getnames())
        with pytest.raises(TargetExists):
            seeded.export("greeting.txt", tmp_path / "copy")
        with pytest.raises(PathNotFound):
            seeded.export("nowhere", tmp_path / "x")

    def test_later_changes_of_the_host_come_in(self, seeded: Workspace, project: Path) -> None:
        (project / "later.txt").write_text("new")
        assert seeded.sync_push().written == 1
        assert seeded.files.read("later.txt").content == "new"
        assert seeded.diff().files == ()


class TestStates:
    def test_snapshots_are_made_listed_compared_and_deleted(self, seeded: Workspace) -> None:
        seeded.files.write("a", "1")
        seeded.snapshots.create("first")
        seeded.files.write("b", "2")
        assert [change.path for change in seeded.diff(to="first").files] == ["b"]
        assert [each.name for each in seeded.snapshots.list()] == ["first"]
        with pytest.raises(NameTaken):
            seeded.snapshots.create("first")
        seeded.reset("first")
        assert seeded.info.state is WorkspaceState.RUNNING
        assert [change.path for change in seeded.diff().files] == ["a"]
        seeded.snapshots.delete("first")
        assert seeded.snapshots.list() == []
        for call in (seeded.reset, seeded.snapshots.delete):
            with pytest.raises(SnapshotNotFound):
                call("first")
        with pytest.raises(UsageError):
            seeded.snapshots.create("a b")

    def test_reset_brings_back_files_home_tmp_and_processes(self, seeded: Workspace) -> None:
        before = processes_inside(seeded)
        seeded.exec("rm -r /workspace/src; echo x > ~/x; echo x > /tmp/x")
        seeded.exec(["sleep", "1000"], background=True)
        seeded.reset()
        assert (
            seeded.exec("ls /workspace/src ~ /tmp").stdout.text == "/home/agent:\n\n/tmp:\n\n/workspace/src:\nrun.sh\n"
        )
        assert processes_inside(seeded) == before

    def test_forks_go_their_own_ways(self, sandlot: Sandlot, seeded: Workspace) -> None:
        seeded.files.write("shared", "1")
        first, second = seeded.fork(name="try", count=2, labels={"kind": "fork"})
        assert (first.name, second.name, first.info.labels) == ("try-1", "try-2", {"kind": "fork"})
        first.files.write("shared", "2")
        assert [each.files.read("shared").content for each in (seeded, first, second)] == ["1", "2", "1"]
        with seeded.fork()[0] as third:
            assert third.name is None
        assert len(sandlot.list()) == 3
        for count in (0, 101):
            with pytest.raises(UsageError):
                seeded.fork(count=count)

    def test_stop_and_start(self, workspace: Workspace) -> None:
        for call, state in ((workspace.stop, WorkspaceState.STOPPED), (workspace.start, WorkspaceState.RUNNING)):
            call()
            call()
            assert workspace.info.state is state


class TestFacts:
    def test_update_merges_and_clears(self, sandlot: Sandlot) -> None:
        workspace = sandlot.create(name="old", labels={"a": "1", "b": "2"})
        info = workspace.update(name="new", labels={"b": "3", "c": "4"}, clear_labels=["a", "absent"], retention=None)
        assert (info.name, info.labels, info.retention_s) == ("new", {"b": "3", "c": "4"}, None)
        assert workspace.name == "new"
        assert workspace.update().labels == info.labels
        assert workspace.update(clear_name=True).name is None
        for wrong in ({"name": "x", "clear_name": True}, {"name": "ws-x"}, {"idle_timeout": 0}, {"labels": {"": "x"}}):
            with pytest.raises(UsageError):
                workspace.update(**wrong)
        sandlot.create(name="other")
        with pytest.raises(NameTaken):
            workspace.update(name="other")

    def test_the_summary_tells_what_happened_since_the_last_reset(self, seeded: Workspace, tmp_path: Path) -> None:
        seeded.exec("exit 3")
        seeded.patch(PATCH)
        seeded.export("greeting.txt", tmp_path / "out")
        summary = seeded.summary()
        assert [each.number for each in summary.commands] == [1]
        assert [change.path for change in summary.files] == ["greeting.txt"]
        assert [event.kind for event in summary.events] == ["export"]
        assert summary.open_questions == ("command 1 did not succeed: exit 3",)
        assert "greeting.txt (+1 -1)" in summary.text
        seeded.reset()
        again = seeded.summary()
        assert (again.commands, again.files, again.events) == ((), (), ())

    def test_listing_and_status_are_no_activity_and_reading_is(self, sandlot: Sandlot, workspace: Workspace) -> None:
        before = workspace.status().workspace.active_at
        sandlot.list()
        workspace.snapshots.list()
        assert workspace.status().workspace.active_at == before
        workspace.files.list()
        assert workspace.status().workspace.active_at > before


class TestGit:
    @pytest.fixture
    def repository(self, project: Path) -> Path:
        """The project as a git repository with an uncommitted edit."""
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        for words in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
            subprocess.run(["git", "-C", project, *words], check=True, env=environment)
        (project / "greeting.txt").write_text("hello there\n")
        return project

    def test_git_works_inside_and_sees_the_uncommitted_edit(self, sandlot: Sandlot, repository: Path) -> None:
        workspace = sandlot.create(repository)
        assert workspace.info.origin.dirty
        assert workspace.info.origin.ref == "main"
        assert workspace.exec(["git", "status", "--short"]).stdout.text == " M greeting.txt\n"
        assert workspace.diff().files == ()

    def test_the_commit_alone_on_demand(self, sandlot: Sandlot, repository: Path) -> None:
        workspace = sandlot.create(repository, committed_only=True)
        assert not workspace.info.origin.dirty
        assert workspace.files.read("greeting.txt").content == "hello\n"
