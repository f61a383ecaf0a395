"""Forms: read by the letter, bounded, and never taken for JSON."""

import pytest

from inngest_server.events.form import (
    FORM_BYTES_MAX,
    FORM_FIELDS_MAX,
    MULTIPART,
    URLENCODED,
    InvalidFormError,
    form_kind,
    read_form,
)

BOUNDARY = "----x--y"
TYPE = f"{MULTIPART}; boundary={BOUNDARY}"


def part(disposition: str, value: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + value + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def field(name: str, value: str) -> bytes:
    return part(f'form-data; name="{name}"', value.encode())


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        (URLENCODED, b"a=1", URLENCODED),
        ("Multipart/Form-Data; boundary=B", b"--B", MULTIPART),
        (URLENCODED, b' \n{"name":"a"}', None),
        (TYPE, b"[]", None),
        (URLENCODED, b"", None),
        ("application/json", b"a=1", None),
        ("", b"a=1", None),
    ],
)
def test_a_form_says_that_it_is_one_and_does_not_begin_like_json(
    content_type: str, body: bytes, kind: str | None
) -> None:
    assert form_kind(content_type, body) == kind


def test_values_of_a_name_are_collected() -> None:
    wanted = {"a": ["1", ""], "b": ["x y&ä"]}

    assert read_form(f"{URLENCODED}; charset=utf-8", b"a=1&b=x+y%26%C3%A4&a=") == wanted
    assert read_form(TYPE, multipart(field("a", "1"), field("b", "x y&ä"), field("a", ""))) == wanted


def test_values_of_parts_stay_as_they_are() -> None:
    value = 'two\r\nlines\n --x "quoted"\r\n'

    assert read_form(f'{MULTIPART}; boundary="{BOUNDARY}"', multipart(field("a", value))) == {"a": [value]}


def test_files_are_left_out() -> None:
    file = part('form-data; name="a"; filename="a.txt"', b"content")

    assert read_form(TYPE, multipart(file, field("b", "1"))) == {"b": ["1"]}


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        (URLENCODED, b"a=\xff", "not UTF-8"),
        (URLENCODED, b"&".join([b"a=1"] * (FORM_FIELDS_MAX + 1)), "at most 1000 fields"),
        (URLENCODED, b"a" * (FORM_BYTES_MAX + 1), f"at most {FORM_BYTES_MAX} bytes"),
        (MULTIPART, multipart(field("a", "1")), "no boundary"),
        (TYPE, field("a", "1"), "does not end"),
        (TYPE, b"nothing of the kind", "does not end"),
        (TYPE, multipart(part("form-data", b"1")), "no name"),
        (TYPE, multipart(f"--{BOUNDARY}\r\nno head\r\n".encode()), "no name"),
        (TYPE, multipart(*[field("a", "1")] * (FORM_FIELDS_MAX + 1)), "at most 1000 fields"),
    ],
)
def test_a_bad_form_is_refused_with_the_reason(content_type: str, body: bytes, why: str) -> None:
    with pytest.raises(InvalidFormError, match=why):
        read_form(content_type, body)


def test_as_many_fields_as_are_allowed_are_read() -> None:
    assert len(read_form(TYPE, multipart(*[field("a", "1")] * FORM_FIELDS_MAX))["a"]) == FORM_FIELDS_MAX
