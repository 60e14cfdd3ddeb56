"""Numbers in a text, as people write them."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from decimal import Decimal

# A sign belongs to a number only where the text before does not end in one: `5-3` holds 5 and 3.
_NUMBER = re.compile(
    r"(?:(?<![\w.)])(?P<sign>[-+]))?[$€£¥₹]?"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<!\d)\.\d+)(?P<exponent>[eE][-+]?\d{1,3}(?!\d))?"
)
_MINUS = str.maketrans("−–", "--")


def last_number(text: str) -> Decimal | None:
    """Return the last number of a text: digits, maybe with commas between thousands, a point before decimals.

    Signs of currency and percent are left out; None without a number.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_MINUS)
    last = deque(_NUMBER.finditer(plain), maxlen=1)
    if not last:
        return None
    sign, digits, exponent = last[0].group("sign", "digits", "exponent")
    return Decimal(f"{sign or ''}{digits.replace(',', '')}{exponent or ''}")
