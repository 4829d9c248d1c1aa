"""An extension of griffe: the headings of this project's docstrings, as a page shows them.

An `Example:` is what Google's style calls `Examples:`; `Cost:` and `Source:` begin a paragraph.
"""

import re
from typing import Any

from griffe import Extension, Object


class Headings(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Read an object that has just been loaded, with all its members known."""
        if obj.docstring is not None:
            text = re.sub(r"(?m)^( *)Example:$", r"\1Examples:", obj.docstring.value)
            obj.docstring.value = re.sub(r"(?m)^(Cost|Source): ", r"\n**\1:** ", text)
