"""An extension of griffe: this project's docstrings in the words of Google's style.

An `Example:` is called `Examples:` there, `Cost:` and `Source:` begin a paragraph, and names that
share a description have it each.
"""

import re
from typing import Any

from griffe import Extension, Object


class InGooglesWords(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Take an object that has just been loaded."""
        if obj.docstring is not None:
            text = re.sub(r"(?m)^( *)Example:$", r"\1Examples:", obj.docstring.value)
            text = re.sub(r"(?m)^(Cost|Source): ", r"\n**\1:** ", text)
            obj.docstring.value = re.sub(r"(?m)^( +)((?:\w+, )+\w+): (.*)$", _one_each, text)


def _one_each(found: re.Match[str]) -> str:
    indent, names, meaning = found.groups()
    return "\n".join(f"{indent}{name}: {meaning}" for name in names.split(", "))
