"""Events that were posted as forms. Pure. Source: protocol 1.3.

Forms are what webhooks of other services send. Their fields are collected in lists, whatever their number, so
that they make an event only once something gives them a name.
"""

import re
from urllib.parse import parse_qsl

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
FORM_BYTES_MAX = 1024 * 1024
"""Far more than webhooks send; a form takes longer to read than JSON."""
FORM_FIELDS_MAX = 1000
PART_HEAD_BYTES_MAX = 4096
"""What stands before the value of a part."""

_BOUNDARY = re.compile(r"""boundary=(?:"([^"]{1,200})"|([^\s";]{1,200}))""", re.IGNORECASE)
_NAME = re.compile(rb"""(?:;|\s)name="([^"\r\n]*)\"""", re.IGNORECASE)
_FILE_NAME = re.compile(rb"""(?:;|\s)filename\*?=""", re.IGNORECASE)

Form = dict[str, list[str]]


class InvalidFormError(ValueError):
    """The body is not the form that its content type promises, or larger than a form may be."""

    code = "invalid_form"


def form_kind(content_type: str, body: bytes) -> str | None:
    """`URLENCODED` or `MULTIPART` for a body that is read as a form; None for all else.

    A body that begins like JSON is JSON: `curl -d '{...}'` says that it is a form.
    """
    kind = content_type.partition(";")[0].strip().lower()
    is_form = kind in (URLENCODED, MULTIPART) and body.lstrip()[:1] not in (b"{", b"[", b"")
    return kind if is_form else None


def read_form(content_type: str, body: bytes) -> Form:
    """The fields of a form with their values, in the order in which they came; files are left out.

    A large one takes longer than an event loop may wait.

    Raises:
        InvalidFormError: with the reason.
    """
    if len(body) > FORM_BYTES_MAX:
        raise InvalidFormError(f"a form has at most {FORM_BYTES_MAX} bytes, got {len(body)}")
    if form_kind(content_type, body) == MULTIPART:
        pairs = _multipart(content_type, body)
    else:
        pairs = _urlencoded(body)
    form: Form = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def _urlencoded(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX)
    except UnicodeDecodeError as error:
        raise InvalidFormError("the form is not UTF-8") from error
    except ValueError as error:
        raise InvalidFormError(f"a form has at most {FORM_FIELDS_MAX} fields") from error


def _multipart(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """By hand: the standard library's parser of mails takes minutes for a hostile header of 1 MiB."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidFormError("the content type names no boundary")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
    _, *parts = (b"\r\n" + body).split(delimiter, FORM_FIELDS_MAX + 2)
    if len(parts) > FORM_FIELDS_MAX + 1:
        raise InvalidFormError(f"a form has at most {FORM_FIELDS_MAX} fields")
    if not parts or not parts[-1].startswith(b"--"):
        raise InvalidFormError("the form does not end with its boundary")
    pairs: list[tuple[str, str]] = []
    for part in parts[:-1]:
        head, separator, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head[:PART_HEAD_BYTES_MAX])
        if not separator or name is None:
            raise InvalidFormError("a part of the form has no name")
        if _FILE_NAME.search(head[:PART_HEAD_BYTES_MAX]) is None:
            pairs.append((_text(name[1]), _text(value)))
    return pairs


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
