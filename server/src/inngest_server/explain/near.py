"""Names of triggers that an event nearly has: another case, one letter more, less, changed or swapped."""


def near_miss(event_name: str, trigger: str) -> str:
    """How the name of an event differs from that of a trigger; empty where it is the same, or far off.

    Of a wildcard its beginning is compared with as many letters of the name.
    """
    if trigger.endswith("*"):
        trigger = trigger[:-1]
        event_name = event_name[: len(trigger)]
    if event_name == trigger or not trigger:
        return ""
    if event_name.casefold() == trigger.casefold():
        return "differs only by upper and lower case"
    if event_name.strip() == trigger.strip():
        return "differs only by white space"
    return "differs by one letter" if is_one_letter_off(event_name, trigger) else ""


def is_one_letter_off(a: str, b: str) -> bool:
    """Whether one letter inserted, deleted, changed or swapped with its neighbour makes one of the other."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    if len(a) == len(b):
        is_changed = a[start + 1 :] == b[start + 1 :]
        is_swapped = a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :]
        return is_changed or is_swapped
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return longer[start + 1 :] == shorter[start:]
