"""A hook of mkdocs: formulas become MathML while the site is built, so that no page needs a script.

Formulas are written as GitHub reads them, `$…$` in a line and `$$…$$` as a block.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r'class="arithmatex">(?:\\\((.+?)\\\)|\\\[(.+?)\\\])<', re.DOTALL)
NOT_UNDERSTOOD = re.compile(r"<mi>(\\\w+|&)</mi>")


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """The page with MathML in the place of LaTeX."""

    def mathml(found: re.Match[str]) -> str:
        inline, block = found.groups()
        latex = html.unescape(inline or block).strip()
        made = convert(latex, display="inline" if inline else "block")
        if unknown := NOT_UNDERSTOOD.search(made):
            raise PluginError(f"{page.file.src_uri}: {unknown[1]} in ${latex}$ has no MathML here")
        return f'class="arithmatex">{made}<'

    return FORMULA.sub(mathml, content)
