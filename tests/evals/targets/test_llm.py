from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sandlot.errors import UsageError
from sandlot.evals.cases import Message, Part, TargetSpec
from sandlot.evals.targets import check_target, run_target
from sandlot.workspaces.cancellation import Cancellation, Cancelled
from tests.evals.subjects import case, target
from tests.hosts.fake_model import DONE, FakeModel


class Server:
    """Answers what it is told, in order; the last answer is repeated."""

    def __init__(self, *answers: tuple[int, bytes, dict[str, str]]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.asked = threading.Event()
        self.release = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Silent."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append((self.path, dict(self.headers), body))
                server.asked.set()
                status, data, headers = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                if status == 0:
                    server.release.wait(60)
                    return
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def target(self, **config: Any) -> TargetSpec:
        return target("llm", base_url=f"http://127.0.0.1:{self.http.server_port}/v1", model="m", **config)


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel([]).serve() as served:
        yield served


def test_a_model_answers_and_says_what_it_used(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k-123456")
    spec = target("llm", base_url=f"{model.url}/v1", model="m", api_key_env="MY_KEY", system="be brief",
                  usd_per_million={"input": 1.0, "output": 2.0})  # fmt: skip
    found = run_target(spec, case("hi"), None)
    assert (found.text, found.error) == (DONE, "")
    assert (found.usage.input_tokens, found.usage.output_tokens) == (10, 5)
    assert found.usage.cost_usd == pytest.approx(20 / 1_000_000)
    path, body = model.requests[0]
    assert path == "/v1/chat/completions"
    assert [each["role"] for each in body["messages"]] == ["system", "user"]


def test_a_key_is_asked_for_when_it_is_used_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    spec = target("llm", base_url="http://127.0.0.1:9", model="m", api_key_env="NO_SUCH_KEY")
    check_target(spec)
    assert "NO_SUCH_KEY is not set" in run_target(spec, case(), None).error


def test_a_redirect_is_not_followed_and_a_key_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k-123456")
    with Server((200, b"{}", {})) as elsewhere:
        away = f"http://127.0.0.1:{elsewhere.http.server_port}/steal"
        with Server((302, b"", {"Location": away})) as server:
            found = run_target(server.target(api_key_env="MY_KEY"), case(), None)
        assert "302" in found.error
        assert "k-123456" not in found.error
        assert server.requests[0][1]["Authorization"] == "Bearer k-123456"
        assert elsewhere.requests == []


def test_a_busy_server_is_asked_again_and_others_are_not() -> None:
    good = json.dumps({"choices": [{"message": {"content": "fine"}}]}).encode()
    with Server((429, b"busy", {"Retry-After": "0"}), (503, b"", {"Retry-After": "0"}), (200, good, {})) as server:
        assert run_target(server.target(), case(), None).text == "fine"
        assert len(server.requests) == 3
    with Server((401, b"who are you", {})) as server:
        assert "401: who are you" in run_target(server.target(), case(), None).error
        assert len(server.requests) == 1


def test_a_key_that_a_server_quotes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k-123456")
    with Server((401, b"no such key: k-123456", {})) as server:
        assert "no such key: [key]" in run_target(server.target(api_key_env="MY_KEY"), case(), None).error


@pytest.mark.parametrize("status", [429, 500, 529, 401, 404])
def test_a_provider_in_trouble_is_an_error_and_no_answer(status: int) -> None:
    with Server(*[(status, b"sorry", {"Retry-After": "0"})] * 2) as server:
        found = run_target(server.target(retries=1), case(), None)
    assert (found.text, found.timed_out) == ("", False)
    assert f"answered {status}: sorry" in found.error


def test_messages_are_handed_on_as_they_are_written(model: FakeModel) -> None:
    said = (("system", "be brief"), ("user", "2+2?"), ("assistant", "4"), ("user", "and 3+3?"))
    messages = tuple(Message(role, (Part(text),)) for role, text in said)
    run_target(target("llm", base_url=f"{model.url}/v1", model="m"), case(input=messages), None)
    (_, body) = model.requests[0]
    assert [(each["role"], each["content"]) for each in body["messages"]] == list(said)


@pytest.mark.parametrize(
    "body", [b"no json", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": ""}}]}']
)
def test_a_reply_that_is_none_is_an_error(body: bytes) -> None:
    with Server((200, body, {})) as server:
        assert run_target(server.target(), case(), None).error


def test_a_server_that_says_nothing_runs_out_of_time() -> None:
    with Server((0, b"", {})) as server:
        found = run_target(server.target(), case(), None, timeout_s=0.3)
    assert found.timed_out
    assert "in time" in found.error


def test_a_cancelled_question_ends() -> None:
    cancellation = Cancellation()
    with Server((0, b"", {})) as server:

        def cancel() -> None:
            server.asked.wait(30)
            cancellation.cancel()

        waker = threading.Thread(target=cancel)
        waker.start()
        with pytest.raises(Cancelled):
            run_target(server.target(), case(), None, timeout_s=60, cancellation=cancellation)
        waker.join()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model": "m", "api_key": "sk"},
        {"model": "m", "base_url": "file:///etc/passwd"},
        {"model": "m", "retries": 99},
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        check_target(target("llm", **config))
