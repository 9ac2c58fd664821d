"""What a test and its node say to each other over their socket pair: one request, one answer.

Frames are those of eventing.sdk.frames. Events travel as pairs of attributes and data; whatever
may grow without end is asked for page by page.
"""

from typing import Any, Final

REQUEST: Final = 65  # [REQUEST, method, arguments]
ANSWER: Final = 66  # [ANSWER, value]
REFUSED: Final = 67  # [REFUSED, whether it is a mistake of the user's, message]

PAGE_BYTES: Final = 16 << 20
"""Bytes of data after which a page ends; an event may be larger than that."""
PAGE_ITEMS: Final = 1000

Record = dict[str, Any]
"""The fields of one of the values in eventing.testing.records, as plain values."""
