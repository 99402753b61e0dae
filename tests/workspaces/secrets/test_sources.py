"""What callers say about secrets; a value never comes back in an error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sandlot.errors import PathNotFound, SandlotError, UsageError
from sandlot.model.secret import Secret
from sandlot.workspaces.secrets.bound_host import BoundHost
from sandlot.workspaces.secrets.sources import checked, given, read_content

VALUE = "value-0123456789"


def test_a_variable_of_the_host_is_taken_by_its_name_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", VALUE)
    short, long = given(["API_KEY@api.example.com", "OTHER=env:API_KEY@API.Example.com.:8443,http://x.example:80"])
    assert (short.name, short.hosts, short.value) == ("API_KEY", ("api.example.com",), VALUE)
    assert (long.name, long.hosts, long.value) == ("OTHER", ("api.example.com:8443", "http://x.example"), VALUE)


def test_a_file_may_end_with_a_newline_and_have_an_at_sign_in_its_name(tmp_path: Path) -> None:
    file = tmp_path / "token@home"
    file.write_text(VALUE + "\n")
    (found,) = given([f"TOKEN=file:{file}@-"])
    assert (found.hosts, found.value) == ((), VALUE)


def test_a_secret_shows_its_value_in_no_repr() -> None:
    assert VALUE not in repr(Secret(value=VALUE, hosts=()))
    assert VALUE not in repr(checked("A", VALUE, ()))


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        f"{VALUE}@h.example",
        f"NAME={VALUE}",
        f"NAME={VALUE}@h.example",
        f"NAME=literal:{VALUE}@h.example",
        f"NAME=env:@{VALUE}",
        "NAME=env:NOT_SET@h.example",
        "NAME=file:@h.example",
        "NAME=env:API_KEY",
        "NAME=env:API_KEY@",
        "NAME=env:API_KEY@*.example.com",
        "NAME=env:API_KEY@ftp://h.example",
        "NAME=env:API_KEY@h.example/path",
        "NAME=env:API_KEY@h.example:0",
        "NAME=env:API_KEY@0x7f.1",
        "PATH=env:API_KEY@h.example",
        "HTTPS_PROXY=env:API_KEY@h.example",
        "ld_preload=env:API_KEY@h.example",
        "SSL_CERT_FILE=env:API_KEY@h.example",
        "A-B=env:API_KEY@h.example",
        "=env:API_KEY@h.example",
    ],
)
def test_what_makes_no_sense_is_refused_without_repeating_a_value(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("API_KEY", "another-value-0123")
    with pytest.raises(UsageError) as caught:
        given([text])
    told = f"{caught.value.message} {caught.value.hint}"
    assert "another-value" not in told
    if f"@{VALUE}" not in text:  # that would be a host
        assert VALUE not in told


@pytest.mark.parametrize(
    "value",
    [
        "",
        "short",
        "a" * 9000,
        "two\nlines-of-it",
        "cr\rcr-cr-cr",
        "nul\0nul-nul",
        "\x1b[31mred-red",
        " blank-first",
        "blank-last ",
    ],
)
def test_a_value_that_no_request_can_carry_is_refused(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked("NAME", value, ("h.example",))
    assert not value or value not in caught.value.message


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        read_content("NAME", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8")
    assert read_content("NAME", io.BytesIO(b"value-01\r\n")) == "value-01"


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with open("/dev/zero", "rb") as file, pytest.raises(SandlotError):
        checked("NAME", read_content("NAME", file), ())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PathNotFound, match="gone"):
        given([f"NAME=file:{tmp_path}/gone@h.example"])


def test_the_same_name_twice_is_refused() -> None:
    secret = Secret(value=VALUE, hosts=())
    with pytest.raises(UsageError, match="twice"):
        given([("A", secret), ("A", secret)])


def test_a_secret_has_exactly_one_source() -> None:
    for secret in (Secret(hosts=()), Secret(hosts=(), value=VALUE, env="X")):
        with pytest.raises(UsageError, match="exactly one"):
            given([("A", secret)])


def test_hosts_are_written_back_the_way_they_are_typed() -> None:
    for text in ("api.example.com", "api.example.com:8443", "http://api.example.com", "http://[::1]:8080", "10.0.0.1"):
        assert str(BoundHost.parse(text)) == text
