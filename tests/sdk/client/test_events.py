"""Events as users make, dump and embed them."""

import json
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from inngest.errors import EventInvalidError
from inngest.events import Event


def test_an_event_needs_only_a_name() -> None:
    event = Event(name="a")

    assert (event.data, event.id, event.ts, event.v, event.user) == ({}, "", 0, None, {})
    assert event.to_dict() == {"name": "a", "data": {}}


def test_unset_id_and_time_are_not_sent() -> None:
    assert Event(name="a", data={"b": 1}, id="", ts=0).to_dict() == {"name": "a", "data": {"b": 1}}
    assert Event.from_raw({"name": "a", "id": "x", "ts": 5, "v": "1", "user": {"u": 1}}).to_dict() == {
        "name": "a",
        "data": {},
        "id": "x",
        "ts": 5,
        "v": "1",
        "user": {"u": 1},
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 1}, "name: Input should be a valid string, got 1"),
        ({"name": "a", "data": [1]}, "data: Input should be a valid"),
        ({"name": "a", "id": 5}, "id: Input should be a valid string"),
        ({"name": "a", "ts": 1.5}, "ts: Input should be a valid integer"),
        ({"name": "a", "ts": True}, "ts: Input should be a valid integer"),
        ({"name": "a", "ts": datetime(2026, 1, 1, tzinfo=UTC)}, "ts: Input should be a valid integer"),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(EventInvalidError, match=message):
        Event.from_raw(fields)
    with pytest.raises(pydantic.ValidationError):
        Event(**fields)


class UserData(pydantic.BaseModel):
    user_id: int


class TypedEvent(Event):
    name: str = "user/created"
    data: UserData  # type: ignore[assignment]


def test_a_subclass_may_type_its_data() -> None:
    event = TypedEvent(data=UserData(user_id=3))

    assert event.to_dict() == {"name": "user/created", "data": {"user_id": 3}}
    assert TypedEvent.from_raw({"name": "user/created", "data": {"user_id": 3}}).data.user_id == 3
    with pytest.raises(pydantic.ValidationError):
        TypedEvent(data={"user_id": "x"})  # type: ignore[arg-type]


def test_data_is_read_as_a_model() -> None:
    event = Event(name="user/created", data={"user_id": 3})

    assert event.data_as(UserData) == UserData(user_id=3)


@pytest.mark.parametrize(
    "raw", [None, "a", 5, [], {}, {"data": {}}, {"name": None}, {"name": "a", "ts": "1"}]
)
def test_what_is_no_event_is_not_read_as_one(raw: object) -> None:
    with pytest.raises(EventInvalidError):
        Event.from_raw(raw)


def test_unknown_keys_and_nulls_are_ignored_when_read() -> None:
    raw = {"name": "a", "data": None, "id": None, "ts": None, "user": {}, "v": None, "meta": {}, "other": 1}

    assert Event.from_raw(raw) == Event(name="a")


def test_an_event_dumps_as_a_model_does() -> None:
    event = Event(name="a", data={"b": (1, 2)}, id="x")

    assert event.model_dump() == {"name": "a", "data": {"b": (1, 2)}, "id": "x", "ts": 0}
    assert event.model_dump(mode="json") == {"name": "a", "data": {"b": [1, 2]}, "id": "x", "ts": 0}
    assert event.model_dump(include={"name", "id"}) == {"name": "a", "id": "x"}
    assert event.model_dump(exclude={"data"}, exclude_defaults=True) == {"name": "a", "id": "x"}
    assert json.loads(event.model_dump_json()) == event.model_dump(mode="json")


def test_dumping_gives_new_data() -> None:
    event = Event(name="a", data={"b": 1})

    event.model_dump()["data"]["b"] = 2

    assert event.data == {"b": 1}


def test_a_copy_may_change_fields() -> None:
    event = Event(name="a", data={"b": [1]})

    assert event.model_copy(update={"name": "c"}) == Event(name="c", data={"b": [1]})
    assert event.model_copy(deep=True).data["b"] is not event.data["b"]


def test_an_event_is_validated_from_objects_and_text() -> None:
    assert Event.model_validate({"name": "a", "ts": 5}) == Event(name="a", ts=5)
    assert Event.model_validate_json('{"name":"a"}') == Event(name="a")


class Holder(pydantic.BaseModel):
    event: Event


def test_a_pydantic_model_may_hold_an_event() -> None:
    holder = Holder.model_validate({"event": {"name": "a", "data": {"b": 1}}})

    assert holder.event == Event(name="a", data={"b": 1})
    assert holder.model_dump(mode="json") == {"event": {"name": "a", "data": {"b": 1}, "id": "", "ts": 0}}
    assert Holder.model_json_schema()["$defs"]["Event"]["required"] == ["name"]
    with pytest.raises(pydantic.ValidationError):
        Holder.model_validate({"event": {"data": {}}})


class UserCreated(pydantic.BaseModel):
    """The documented way to type events."""

    name: str = "user/created"
    user_id: int


def test_an_event_makes_a_round_trip_through_a_users_model() -> None:
    event = Event(name="user/created", data={"user_id": 3}, id="", ts=0)

    typed = UserCreated.model_validate(event.model_dump(mode="json")["data"])

    assert typed.user_id == 3
    assert "ts" not in event.to_dict()


def test_an_event_shows_what_is_set() -> None:
    assert "name='a' data={'b': 1}" in str(Event(name="a", data={"b": 1}))


def test_events_are_changed_in_place_by_middleware() -> None:
    event = Event(name="a")

    event.data = {"encrypted": "x"}

    assert event.to_dict()["data"] == {"encrypted": "x"}
