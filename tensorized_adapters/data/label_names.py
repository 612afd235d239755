"""Names labels, and recognises names that only look alike and numbers in another country's style."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Optional

from ..errors import quoted
from .texts import text_of

# This matches numbers, also with a decimal comma, separators of thousands, a typographic minus, or a sign of per cent,
# per mille or money. The characters from U+20A0 to U+20CF are signs of currencies.
_STYLED = re.compile(
    r"[+\-\u2212]?(?:[$£¥\u20a0-\u20cf]\s*)?"
    r"(?:\d{1,3}(?:[.,'\u2019\s]\d{3})+(?:[.,]\d+)?|\d*,\d+|\d+(?:\.\d+)?|\.\d+)(?:e[+\-]?\d+)?"
    r"(?:\s*[%\u2030$£¥\u20a0-\u20cf])?",
    re.IGNORECASE,
)
COMMA = "a comma"
# Full-width and Arabic punctuation, mapped to the usual characters.
_SIGNS = str.maketrans("％﹪٪，٫．٬＋－＄￡￥", "%%%,,.'+-$£¥")
# A hyphen that looks like the usual one, and letters of other scripts that look like Latin ones.
_LOOKALIKES = str.maketrans("‐АВЕКМНОРСТХасеорхуіѕјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "-ABEKMHOPCTXaceopxyisjABEZHIKMNOPTYXo")
# Invisible characters that are no format or control characters (Cf, Cc): joiners, fillers, and variation selectors,
# such as the one that makes a heart red.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def name_of(value: Any) -> str:
    """Return the name of a label, in composed characters (NFC), so that two ways to write an accent give one name."""
    return unicodedata.normalize("NFC", text_of(value).strip())


def names_of_classes(names: Iterable[str], source: str) -> tuple[str, ...]:
    """Return the names of a ClassLabel, in its order, as :func:`name_of` has them: without blanks at the ends, in NFC,
    and each once. A note tells which classes became one."""
    written: dict[str, str] = {}
    for name in names:
        first = written.setdefault(name_of(name), name)
        if first != name:
            print(f"note: {source}: the classes {_escaped(first)} and {_escaped(name)} have one name and are one")
    return tuple(written)


def find_name(name: str, ids: dict[str, int]) -> Optional[int]:
    """Return the id of the class of that name, or None. Names are compared as they are written, then in NFC, and then,
    if they are true and false, without regard to case."""
    if name in ids:
        return ids[name]
    first = {name_of(known): code for known, code in reversed(ids.items())}
    truths = {known.lower(): code for known, code in reversed(ids.items()) if known.lower() in ("true", "false")}
    return first.get(name_of(name), truths.get(name.lower()))


def styled_number(value: Any) -> str:
    """Return what keeps Python from reading a number, COMMA or its first unusual sign; empty for other values. A comma
    decides whether the label may be a decimal."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
        return ""
    except ValueError:
        text = value.strip().translate(_SIGNS)
    if not _STYLED.fullmatch(text):
        return ""
    sign = next((c for c in value.strip() if not (c.isdecimal() or c in ".+-eE")), None)
    return COMMA if "," in text else "several points" if sign is None else f"the sign {quoted(sign)}"


def shown_beside(value: Any, names: Iterable[str]) -> str:
    """Return the label for a message. If it only looks like one of ``names``, both are shown escaped."""
    text = text_of(value)
    twin = next((name for name in names if name != text and _looks(name) == _looks(text)), None)
    if twin is None:
        return quoted(value)
    return f"{_escaped(text)}, which only looks like {_escaped(twin)}"


def lookalikes(names: Iterable[str]) -> Optional[tuple[str, str]]:
    """Return the first two names that look alike or differ in case alone, escaped."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_looks(name).casefold(), name)
        if other != name:
            return _escaped(other), _escaped(name)
    return None


def _looks(name: str) -> str:
    """Return a form of a name that is equal for names that look alike: without blanks, invisible characters and zeros
    in front of a number, and with Latin letters for those of other scripts that look like them."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).translate(_LOOKALIKES)
    visible = "".join(c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc"))
    return re.sub(r"^0+(?=\d+$)", "", visible)


def _escaped(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")
