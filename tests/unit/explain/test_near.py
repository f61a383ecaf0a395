"""Names that are nearly right."""

import pytest

from inngest_server.explain.near import is_one_letter_off, near_miss


@pytest.mark.parametrize(
    ("name", "trigger", "why"),
    [
        ("shop/order", "shop/order", ""),
        ("shop/order", "Shop/Order", "differs only by upper and lower case"),
        ("shop/order", " shop/order", "differs only by white space"),
        ("shop/order", "shop/orders", "differs by one letter"),
        ("shop/order", "shop/oder", "differs by one letter"),
        ("shop/order", "shop.order", "differs by one letter"),
        ("shop/order", "shop/odrer", "differs by one letter"),
        ("shop/order", "shop/invoice", ""),
        ("shop/order", "Shop/*", "differs only by upper and lower case"),
        ("shop/order", "shp/*", ""),
        ("shop/order", "*", ""),
        ("shop/order", "shop/*", ""),
    ],
)
def test_a_difference_that_a_typing_mistake_makes_is_named(name: str, trigger: str, why: str) -> None:
    assert near_miss(name, trigger) == why


@pytest.mark.parametrize("name", ["", "a", "ab", "abca", "aaaa"])
def test_every_single_mistake_is_one_letter_off_in_both_directions(name: str) -> None:
    mistakes = {name[:at] + "x" + name[at:] for at in range(len(name) + 1)}
    mistakes |= {name[:at] + name[at + 1 :] for at in range(len(name))}
    mistakes |= {name[:at] + "x" + name[at + 1 :] for at in range(len(name))}
    mistakes |= {name[:at] + name[at + 1] + name[at] + name[at + 2 :] for at in range(len(name) - 1)}
    for other in mistakes - {name}:
        assert is_one_letter_off(name, other), other
        assert is_one_letter_off(other, name), other
    assert not is_one_letter_off(name, name)
    assert not is_one_letter_off(name, f"{name}xy")
    assert not is_one_letter_off(f"{name}ab", f"{name}xy")
