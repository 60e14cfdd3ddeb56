import pytest

from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.quantity import QuantityError, parse_bytes, render_bytes


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("80Gi", 80 * 2**30),
        ("1.5Mi", 3 * 2**19),
        ("2G", 2 * 10**9),
        ("5k", 5000),
        ("1E", 10**18),
        ("2e9", 2 * 10**9),
        ("3E2", 300),
        ("1500m", 1),
        (123, 123),
        (" 1Ki ", 1024),
    ],
)
def test_memory_is_read_in_bytes(quantity: str | int, amount: int) -> None:
    assert parse_bytes(quantity) == amount


@pytest.mark.parametrize("junk", ["", "Gi", "80 GB", "-1Gi", "1.2.3", "1KiB", "e9"])
def test_junk_is_no_quantity(junk: str) -> None:
    with pytest.raises(QuantityError, match="such as 80Gi"):
        parse_bytes(junk)


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1023, "1023"), (1024, "1.0Ki"), (21.4 * 2**30, "21.4Gi"), (3 * 2**60, "3.0Ei")]
)
def test_memory_is_shown_in_the_largest_unit(amount: float, text: str) -> None:
    assert render_bytes(amount) == text


@pytest.mark.parametrize("amount", ["0", "0Gi", "much"])
def test_device_memory_must_be_an_amount(amount: str) -> None:
    with pytest.raises(ValueError, match="such as 80Gi"):
        AcceleratorProfile(name="cpu", device="cpu", image="trainer", device_memory=amount)
