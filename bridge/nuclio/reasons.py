"""The one line of an error that a CVAT user gets to see: HTTP's reason phrase."""

from __future__ import annotations

import re
import unicodedata

MOST = 250  # characters; CVAT puts a URL behind them and shows the whole
# Neither user and password nor path and query stay, any of which may hold a key.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^\s/?#]*@)?([^\s/?#,;)]*)\S*", re.IGNORECASE)
_PLAIN = str.maketrans({"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "`": "'", "ß": "ss"})


def reason_phrase(message: str, hint: str = "") -> str:
    """What is wrong and what to do, in ASCII and one line; of an address only scheme and host stay."""
    text = _ADDRESS.sub(r"\1\2", f"{message} {hint}")
    folded = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    plain = "".join(char if " " <= char <= "~" else "" if unicodedata.combining(char) else " " for char in folded)
    words = " ".join(plain.split()) or "Something went wrong; Hubbridge's log says more."
    return words if len(words) <= MOST else words[: MOST - 3].rstrip() + "..."
