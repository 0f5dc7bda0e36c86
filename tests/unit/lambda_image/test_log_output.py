"""The handler's stdout: whole lines of JSON with the invocation's fields, without secrets."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_image.logs import invocation_log, log_output
from lambda_image.logs.log_output import MAX_LINE_BYTES, LogOutput

TOKEN = "eyJhbGciOiJub25lIn0.c2VjcmV0.bm90LWEtdG9rZW4"
KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def output(**environ: str) -> tuple[LogOutput, io.BytesIO]:
    """Make an output that can be read."""
    raw = io.BytesIO()
    return LogOutput(raw, environ), raw


def lines(raw: io.BytesIO) -> list[dict[str, Any]]:
    """Read the written lines, each a JSON object."""
    return [json.loads(line) for line in raw.getvalue().splitlines()]


def test_each_line_says_what_it_is_about() -> None:
    """Each line gets the context, except for fields that it has."""
    out, raw = output()
    out.write(b'{"event": "before"}\n')
    out.about({"dag_id": "d", "try_number": 2})
    out.write(b'{"event": "one"}\n{"event": "two", "dag_id": "other"}\n')
    out.about({})
    out.write(b'{"event": "after"}\n')
    assert lines(raw) == [
        {"event": "before"},
        {"event": "one", "dag_id": "d", "try_number": 2},
        {"event": "two", "dag_id": "other", "try_number": 2},
        {"event": "after"},
    ]


def test_what_is_no_json_object_becomes_one() -> None:
    """Printed text and bytes become the event of a JSON object."""
    out, raw = output()
    out.about({"dag_id": "d"})
    out.write(b"printed\n[1]\n\xff\xfe\n\n" + b"[" * 100_000 + b"\n")
    assert [line["event"] for line in lines(raw)][:2] == ["printed", "[1]"]
    assert {(line["dag_id"], line["level"], line["logger"]) for line in lines(raw)} == {
        ("d", "info", "stdout")
    }
    assert len(lines(raw)) == 4


def test_a_line_in_parts_is_written_whole() -> None:
    """A line is one line, however its writes are cut."""
    out, raw = output()
    for part in (b'{"eve', b'nt": "o', b'ne"}\n{"event"', b': "two"}\n'):
        out.write(part)
    assert lines(raw) == [{"event": "one"}, {"event": "two"}]


def test_a_line_of_ours_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the handler does not continue an unfinished line."""
    out, raw = output()
    monkeypatch.setattr(log_output, "_output", out)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, write_through=True))
    sys.stdout.write("no end")
    invocation_log.write("info", "invocation settled")
    assert [line["event"] for line in lines(raw)] == ["no end", "invocation settled"]


def test_what_has_no_line_end_stays_with_its_invocation() -> None:
    """An unfinished line gets the fields of the invocation that wrote it."""
    out, raw = output()
    out.about({"request_id": "one"}, TOKEN)
    out.write(f"no line end {TOKEN}".encode())
    out.about({"request_id": "two"})
    out.write(b'{"event": "after"}\n')
    assert [(line["event"], line["request_id"]) for line in lines(raw)] == [
        ("no line end ***", "one"),
        ("after", "two"),
    ]


@given(before_cut=st.integers(0, len(TOKEN) + 1))
@settings(max_examples=20)
def test_a_line_without_an_end_is_cut(before_cut: int) -> None:
    """Memory is bounded, nothing is lost, and a secret at the cut is removed."""
    out, raw = output()
    out.about({}, TOKEN)
    filling = "x" * (MAX_LINE_BYTES - before_cut)
    for part in (filling, TOKEN[:9], TOKEN[9:], "y" * MAX_LINE_BYTES):
        out.write(part.encode())
    assert len(raw.getvalue()) > MAX_LINE_BYTES
    out.about({})
    said = "".join(line["event"] for line in lines(raw))
    assert said == f"{filling}***{'y' * MAX_LINE_BYTES}"


def test_text_of_any_kind_passes() -> None:
    """Text of every script passes, and half a surrogate pair too."""
    out, raw = output()
    out.write('{"event": "größer 漢字 \\ud800"}\n'.encode())
    assert lines(raw) == [{"event": "größer 漢字 \ud800"}]
    assert "größer 漢字".encode() in raw.getvalue()


def test_the_credentials_of_a_restored_environment_are_masked() -> None:
    """They may be others than those of the snapshot."""
    out, raw = output(AWS_CONTAINER_AUTHORIZATION_TOKEN="a-token-of-the-snapshot")
    out.read_credentials({"AWS_CONTAINER_AUTHORIZATION_TOKEN": "a-token-of-the-environment"})
    out.write(b"the token is a-token-of-the-environment\n")
    assert lines(raw)[0]["event"] == "the token is ***"


def test_no_secret_passes() -> None:
    """The token and the function's credentials are removed anywhere in a line."""
    out, raw = output(AWS_SECRET_ACCESS_KEY=KEY, AWS_SESSION_TOKEN="short")
    out.about({}, TOKEN)
    out.write(json.dumps({"event": f"got {TOKEN}", "env": {"k": KEY}}).encode() + b"\n")
    out.write(f"{KEY} a short word\n".encode())
    assert TOKEN.encode() not in raw.getvalue()
    assert KEY.encode() not in raw.getvalue()
    assert [line["event"] for line in lines(raw)] == ["got ***", "*** a short word"]


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"]
)
def test_each_credential_of_the_function_is_a_secret(name: str) -> None:
    """A credential is masked in every spelling; the id of the access key is shown."""
    out, raw = output(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", **{name: KEY})
    escaped = KEY.replace("/", "\\/")
    out.write(f'{{"event": "AKIAIOSFODNN7EXAMPLE {KEY}", "escaped": "{escaped}"}}\n'.encode())
    assert lines(raw) == [{"event": "AKIAIOSFODNN7EXAMPLE ***", "escaped": "***"}]
