"""Numbers for people."""

from __future__ import annotations

_PLAIN = (1e-3, 1e5)
_MULTIPLES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_MINUTE, _HOUR = 60, 3600


def numeral(value: float) -> str:
    """Return a number of four significant digits, short: 0.0125, 2e-05, 12.5k, 1.2M."""
    size = abs(value)
    if size == 0:
        return "0"
    if size < _PLAIN[0]:
        return f"{value:.3g}"
    for factor, unit in _MULTIPLES:
        if size >= factor and (factor > 1e3 or size >= 1e4):  # noqa: PLR2004 - thousands are read with ease up to here
            return f"{value / factor:.4g}{unit}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return a time: 12.3 s, 4 min 5 s, 3 h 20 min."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"


def words(name: str) -> str:
    """Return a name of the API as words: `perDeviceTrainBatchSize` as `per device train batch size`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
