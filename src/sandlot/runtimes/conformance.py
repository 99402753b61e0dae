"""The suite every runtime must pass.

::

    class TestMine(RuntimeConformance):
        def make_runtime(self, folder):
            return MyRuntime(Paths.at(folder))

    # pytest finds the test methods; nothing else is needed.

It uses the contract of ``base.py`` and the wire, and inside only ``/bin/sh`` and what every userland has. Nothing here
sleeps for a guess: each wait ends with an event, or fails after a generous deadline.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import tempfile
import warnings
from pathlib import Path

from sandlot.bases.trees import remove_tree
from sandlot.errors import CommandNotFound, SandlotError
from sandlot.model.isolation import IsolationLevel
from sandlot.model.workspace import Instance
from sandlot.runtimes.base import AREA_TARGETS, PROJECT, AreaMount, Bounds, LaunchRequest, Runtime, StorageKind
from sandlot.runtimes.conformance_guest import Guest, eventually, mentions, piped
from sandlot.wire import frames, messages

__all__ = ["RuntimeConformance"]

BIG = 500_000_000
DISK_BYTES = 256 << 20
"""Room for changes in a runtime that has to make some."""
MEMORY_KB = 64 * 1024
"""What the agent, or the worker of a command, may ever have needed."""


class RuntimeConformance:
    """Subclass it, say how the runtime is made, and let pytest collect it."""

    folder: Path
    runtime: Runtime

    def make_runtime(self, folder: Path) -> Runtime:
        """A runtime that keeps what it needs below ``folder``."""
        raise NotImplementedError

    # The stage: xunit-style methods, so that nobody needs pytest to import this.

    def setup_method(self) -> None:
        """A folder and a runtime for each test."""
        self.folder = Path(tempfile.mkdtemp(prefix="conform-"))
        self.runtime = self.make_runtime(self.folder / "own")
        self._guests: list[Guest] = []

    def teardown_method(self) -> None:
        """Nobody is left."""
        for guest in self._guests:
            self.runtime.kill(guest.instance)
        remove_tree(self.folder)

    def request(self, name: str = "one", *, idle_timeout_s: int | None = None) -> LaunchRequest:
        """What to launch: two areas, the project's on a lower that holds ``seed`` and ``below/``."""
        root = self.folder / name
        kind = self.runtime.probe().storage
        areas = []
        for area, target in AREA_TARGETS.items():
            upper, work, lower = (root / area / each for each in ("upper", "work", "lower"))
            for folder in (upper, work, lower):
                folder.mkdir(parents=True, exist_ok=True)
            if area == "workspace":
                seeded = upper if kind == StorageKind.COPY else lower
                (seeded / "below").mkdir(exist_ok=True)
                (seeded / "seed").write_text("seed\n")
            areas.append(
                AreaMount(
                    target,
                    upper,
                    work if kind == StorageKind.OVERLAY else None,
                    () if kind == StorageKind.COPY else (lower,),
                )
            )
        disk = root / "data.img" if kind == StorageKind.GUEST else None
        return LaunchRequest(name, tuple(areas), root / "sock", root / "log", idle_timeout_s=idle_timeout_s, disk=disk)

    def changes(self, guest: Guest, number: int) -> Path:
        """What is private to an instance in one of its areas, as a folder of the host."""
        area = guest.request.areas[number]
        if self.runtime.probe().storage != StorageKind.GUEST:
            return area.upper
        folder = self.folder / f"fetched-{number}"
        self.runtime.fetch(guest.instance, guest.request.socket, area.target, folder, Bounds(1 << 20, 1000))
        return folder

    def launch(self, name: str = "one", *, idle_timeout_s: int | None = None) -> Guest:
        """A released instance, ended after the test."""
        request = self.request(name, idle_timeout_s=idle_timeout_s)
        guest = Guest(self.runtime, self.runtime.launch(request), request)
        self._guests.append(guest)
        self.runtime.release(guest.instance, request.socket)
        return guest

    # Life

    def test_the_probe_names_an_isolation_level_and_why_it_works(self) -> None:
        report = self.runtime.probe(fresh=True)
        assert report.available, report.problem
        assert report.isolation.satisfies(IsolationLevel.PROCESS)
        assert report.findings
        assert report.problem is None
        assert report.storage in (StorageKind.OVERLAY, StorageKind.COPY, StorageKind.GUEST)

    def test_an_instance_lives_until_it_is_killed(self) -> None:
        guest = self.launch()
        assert guest.alive
        assert guest.running() == []
        self.runtime.kill(guest.instance)
        assert not guest.alive

    def test_killing_an_ended_instance_is_fine(self) -> None:
        guest = self.launch()
        self.runtime.kill(guest.instance)
        self.runtime.kill(guest.instance)

    def test_alive_and_kill_mean_this_very_instance_and_not_whoever_has_its_number_now(self) -> None:
        guest = self.launch()
        other = dataclasses.replace(
            guest.instance, agent_start=guest.instance.agent_start + 1, monitor_start=guest.instance.monitor_start + 1
        )
        assert not self.runtime.alive(other)
        self.runtime.kill(other)
        assert guest.alive

    def test_two_instances_are_two(self) -> None:
        first, second = self.launch("one"), self.launch("two")
        first.output("echo mine > /workspace/mark; echo mine > /tmp/mark")
        assert second.output("ls /workspace/mark /tmp/mark").how.exit_code != 0
        self.runtime.kill(first.instance)
        assert second.output("true").how.exit_code == 0

    def test_nothing_is_left_after_a_kill(self) -> None:
        guest = self.launch()
        with guest.run("setsid sleep 1000 & (setsid sleep 1000 &) ; echo ready; sleep 1000") as command:
            command.printed(b"ready")
            self.runtime.kill(guest.instance)
        assert not guest.alive
        root = guest.request.socket.parent
        eventually(lambda: not mentions(root), f"nothing of {root} is in use")
        again = Guest(self.runtime, self.runtime.launch(guest.request), guest.request)
        self._guests.append(again)
        assert again.output("cat seed").stdout == b"seed\n"

    def test_an_instance_that_was_not_released_ends_with_its_launcher(self) -> None:
        request = self.request()
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the child launches and is killed; it shares no thread's work
            launcher = os.fork()
        if launcher == 0:
            try:
                instance = self.make_runtime(self.folder / "own").launch(request)
                os.write(write, json.dumps(dataclasses.asdict(instance)).encode())
                signal.pause()
            finally:
                os._exit(1)
        os.close(write)
        told = os.read(read, 65536)
        os.close(read)
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
        instance = Instance(**json.loads(told))
        eventually(lambda: not self.runtime.alive(instance), "the instance ends with its launcher")

    def test_an_idle_instance_ends_by_itself(self) -> None:
        guest = self.launch(idle_timeout_s=3)
        eventually(lambda: not guest.alive, "the idle instance ends")

    def test_a_running_command_keeps_an_instance_from_being_idle(self) -> None:
        guest = self.launch(idle_timeout_s=3)
        assert guest.output("sleep 4; echo done").stdout == b"done\n"

    def test_a_launch_that_cannot_work_is_one_of_our_errors_and_leaves_nothing(self) -> None:
        request = self.request()
        missing = dataclasses.replace(request.areas[0], upper=self.folder / "nowhere", lowers=(self.folder / "no",))
        broken = dataclasses.replace(request, areas=(missing, *request.areas[1:]))
        try:
            instance = self.runtime.launch(broken)
        except SandlotError:
            assert not request.socket.exists()
            eventually(lambda: not mentions(self.folder / "one"), "nothing is in use after a failed launch")
        else:
            self.runtime.kill(instance)
            raise AssertionError("a launch with a missing area succeeded")

    # Commands

    def test_arguments_are_data(self) -> None:
        words = [b"", b" ", b"$(id)", b"`id`", b"a\nb", b"--", b"-n", b"\xff\xfe", "ä".encode(), b"*", b"'\"\\"]
        ended = self.launch().output([b"/usr/bin/printf", b"%s|", *words])
        assert ended.stdout == b"|".join([*words, b""])

    def test_exit_codes_and_signals_are_told_apart(self) -> None:
        guest = self.launch()
        assert [guest.output(f"exit {code}").how.exit_code for code in (0, 1, 42, 255)] == [0, 1, 42, 255]
        died = guest.output("kill -SEGV $$").how
        assert (died.signal, died.reason) == (signal.SIGSEGV, "")
        assert guest.output("exit 139").how.signal == 0

    def test_a_program_that_is_not_there_is_127_and_one_that_cannot_run_is_126(self) -> None:
        guest = self.launch()
        assert guest.output(["no-such-program"]).how.exit_code == 127
        assert guest.output(["/workspace/seed"]).how.exit_code == 126

    def test_stdin_arrives_whole_and_ends(self) -> None:
        data = bytes(range(256)) * 100
        stdin = piped(data)
        try:
            assert self.launch().output(["cat"], stdin=stdin).stdout == data
        finally:
            os.close(stdin)

    def test_the_environment_is_exactly_what_was_given(self) -> None:
        ended = self.launch().output(["/usr/bin/env", "-0"], env={"A": "1 = 2", "B": "x\ny", "C": ""})
        assert sorted(ended.stdout.split(b"\0")[:-1]) == [b"A=1 = 2", b"B=x\ny", b"C="]

    def test_the_folder_is_the_one_given(self) -> None:
        guest = self.launch()
        assert guest.output(["/bin/pwd"], cwd=f"{PROJECT}/below").stdout == f"{PROJECT}/below\n".encode()
        assert guest.output(["/bin/pwd"], cwd=f"{PROJECT}/nowhere").how.exit_code == 127

    def test_binary_output_is_unchanged_on_both_streams(self) -> None:
        data = bytes(range(256)) * 256
        stdin = piped(data[:60000])
        try:
            ended = self.launch().output("tee /dev/stderr", stdin=stdin)
        finally:
            os.close(stdin)
        assert (ended.stdout, ended.stderr) == (data[:60000], data[:60000])

    def test_a_command_that_prints_our_frames_only_prints(self) -> None:
        forged = messages.Exited(0, 0, "", 1, 1, 1, 1, 1, 0)
        data = frames.encode(messages.EXITED, 1, forged.fields()) * 10
        stdin = piped(data)
        try:
            ended = self.launch().output("cat; exit 3", stdin=stdin)
        finally:
            os.close(stdin)
        assert ended.how.exit_code == 3
        assert ended.stdout == data

    def test_commands_run_side_by_side(self) -> None:
        guest = self.launch()
        # Each waits for the other's file: neither could end if one had to wait for the other to be over.
        script = "touch {0}; while [ ! -e {1} ]; do sleep 0.01; done; echo {0}"
        with guest.run(script.format("a", "b")) as first, guest.run(script.format("b", "a")) as second:
            assert first.finish().stdout == b"a\n"
            assert second.finish().stdout == b"b\n"

    def test_many_clients_at_once_each_get_their_own_answer(self) -> None:
        guest = self.launch()
        commands = [guest.start(f"echo {number}; exit {number}") for number in range(32)]
        answers = [command.finish() for command in commands]
        for command in commands:
            command.close()
        assert [answer.how.exit_code for answer in answers] == list(range(32))
        assert [answer.stdout for answer in answers] == [b"%d\n" % number for number in range(32)]

    # Ends

    def test_a_timeout_ends_the_whole_tree_and_keeps_the_output(self) -> None:
        guest = self.launch()
        tree = (
            "trap '' TERM; echo partial; setsid sleep 1000 & (setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' &)"
            " ; nohup sleep 1000 >/dev/null 2>&1 & while :; do sleep 1000; done"
        )
        ended = guest.output(tree, timeout_s=4)
        assert ended.how.reason == "timeout"
        assert ended.how.survivors == 0
        assert ended.stdout == b"partial\n"
        eventually(lambda: guest.processes() == 0, "no process of the command is left")

    def test_a_tree_that_keeps_forking_is_ended(self) -> None:
        guest = self.launch()
        forking = "n=0; while :; do (setsid sleep 1000 &); n=$((n+1)); [ $n = 100 ] && echo ready; done"
        with guest.run(forking) as command:
            command.printed(b"ready")
            guest.call(messages.KILL, [b"%d" % guest.last, b"0"])
            how = command.finish().how
        assert (how.reason, how.survivors) == ("killed", 0)
        eventually(lambda: guest.processes() == 0, "no process of the bomb is left")

    def test_a_command_cannot_stop_its_own_clock(self) -> None:
        guest = self.launch()
        ended = guest.output("kill -STOP $PPID; kill -TERM $PPID; kill -INT $PPID; sleep 1000", timeout_s=0.5)
        assert ended.how.reason == "timeout"

    def test_a_client_that_leaves_takes_its_command_with_it(self) -> None:
        guest = self.launch()
        with guest.run("setsid sleep 1000 & echo ready; sleep 1000") as command:
            command.printed(b"ready")
        eventually(lambda: guest.processes() == 0, "the command ends with its client")

    def test_a_background_command_outlives_its_client_and_is_waited_for_and_recorded(self) -> None:
        guest = self.launch()
        with guest.run("while [ ! -e go ]; do sleep 0.01; done; echo late; exit 5", detached=True) as command:
            command.started()
        number = guest.last
        assert guest.running() == [number]
        guest.output("touch go")
        assert guest.call(messages.WAIT, [b"%d" % number]) == [b"ended"]
        assert command.file("stdout") == b"late\n"
        [(kind, _, fields)] = frames.Decoder().feed(command.file("exit"))
        assert kind == messages.EXITED
        assert messages.Exited.parse(fields).exit_code == 5
        assert guest.running() == []

    def test_a_command_can_be_signalled_and_ended(self) -> None:
        guest = self.launch()
        with guest.run("trap 'echo got' USR1; echo ready; while :; do sleep 0.01; done") as command:
            command.printed(b"ready")
            number = b"%d" % guest.last
            guest.call(messages.KILL, [number, b"%d" % signal.SIGUSR1])
            command.printed(b"got")
            guest.call(messages.KILL, [number, b"0"])
            assert command.finish().how.reason == "killed"
        eventually(lambda: guest.running() == [], "the agent hears of the end")
        try:
            guest.call(messages.KILL, [number, b"0"])
        except CommandNotFound:
            pass
        else:
            raise AssertionError("a command that has ended was killed again")

    def test_killing_everything_inside_ends_no_more_than_what_runs(self) -> None:
        guest = self.launch()
        for number in ("9", "TERM", "INT", "HUP"):
            with guest.run(f"kill -{number} -1; kill -{number} 1; kill -{number} $$") as command:
                while command.answer() is not None:  # its supervisor may be among the dead: then nobody tells the end
                    pass
        assert guest.alive
        assert guest.output("echo still").stdout == b"still\n"

    # Freezing

    def test_nothing_moves_while_frozen_and_all_goes_on_afterwards(self) -> None:
        guest = self.launch()
        with guest.run("while :; do echo tick; done", quota=1 << 30) as command:
            command.printed(b"tick")
            with guest.channel() as freezer:
                freezer.call(messages.FREEZE)
                before = command.file("stdout")
                deferred = guest.start("echo later")
                for _ in range(100):
                    guest.processes()
                assert command.file("stdout") == before
                assert deferred.file("exit") == b""
            assert deferred.finish().stdout == b"later\n"
            deferred.close()
            eventually(lambda: len(command.file("stdout")) > len(before), "the command goes on")

    def test_what_was_stopped_before_a_freeze_stays_stopped(self) -> None:
        guest = self.launch()
        state = "cut -d' ' -f3 /proc/$(cat stopped)/stat"
        with guest.run("sleep 1000 & echo $! > stopped; kill -STOP $!; echo ready; sleep 1000") as command:
            command.printed(b"ready")
            eventually(lambda: guest.output(state).stdout == b"T\n", "the process is stopped")
            guest.call(messages.FREEZE)
            assert guest.output(state).stdout == b"T\n"

    # Output

    def test_output_beyond_the_quota_keeps_its_head_and_its_end(self) -> None:
        ended = self.launch().output("yes 0123456 | head -c 3000000; printf END", quota=100_000)
        assert ended.how.stdout == 3_000_003
        assert ended.stdout[:100_000] == b"0123456\n" * 12_500
        assert ended.stdout.endswith(b"END")
        assert len(ended.stdout) < 300_000

    def test_half_a_gigabyte_of_output_needs_little_memory(self) -> None:
        emulated = self.runtime.probe().isolation is IsolationLevel.VM_EMULATED
        size = BIG // 5 if emulated else BIG  # a slow processor shows as well what is kept of it
        script = f"head -c {size} /dev/zero; cat /proc/1/status /proc/$PPID/status >&2"
        ended = self.launch().output(script, quota=1 << 20)
        assert ended.how.stdout == size
        peaks = [int(line.split()[1]) for line in ended.stderr.splitlines() if line.startswith(b"VmHWM:")]
        assert len(peaks) == 2
        assert max(peaks) < MEMORY_KB

    # Files

    def test_changes_go_to_the_upper_and_lowers_stay_as_they_are(self) -> None:
        guest = self.launch()
        area = guest.request.areas[0]
        before = {path: path.lstat().st_mtime_ns for lower in area.lowers for path in lower.rglob("*")}
        guest.output("echo changed > seed; rm -r below; mkdir new; echo x > new/file; echo home > $HOME/x", env={
            "PATH": "/usr/bin:/bin", "HOME": AREA_TARGETS["home"],
        })  # fmt: skip
        changed = self.changes(guest, 0)
        assert (changed / "seed").read_text() == "changed\n"
        assert (changed / "new/file").read_text() == "x\n"
        assert (self.changes(guest, 1) / "x").read_text() == "home\n"
        after = {path: path.lstat().st_mtime_ns for lower in area.lowers for path in lower.rglob("*")}
        assert after == before
        if area.overlay:
            assert (area.lowers[0] / "seed").read_text() == "seed\n"

    def test_an_answer_comes_while_everything_is_busy(self) -> None:
        guest = self.launch()
        commands = [guest.start("while :; do :; done") for _ in range(4)]
        for command in commands:
            command.started()
        assert sorted(guest.running()) == [1, 2, 3, 4]  # the channel has a deadline of its own
        for command in commands:
            command.close()
        eventually(lambda: guest.processes() == 0, "the commands end with their clients")
