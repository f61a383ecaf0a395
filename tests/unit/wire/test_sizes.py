"""Sizes as people write them."""

import pytest

from inngest_server.wire.sizes import find_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1_048_576),
        ("12B", 12),
        ("10GB", 10_000_000_000),
        ("10 gb", 10_000_000_000),
        ("512MiB", 512 * 2**20),
        ("1.5KiB", 1_536),
        ("0.0001kB", 0),
        (" 2TB ", 2 * 10**12),
        ("2TiB", 2 * 2**40),
    ],
)
def test_a_size_is_its_bytes(text: str, size: int) -> None:
    assert find_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "1.GB", "1,5GB", "10 G B", "10PB", "1e3", "٣MB", "9" * 16]
)
def test_other_texts_are_no_size(text: str) -> None:
    assert find_size(text) is None
