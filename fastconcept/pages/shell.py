"""The shell of every page: one file, styles inline, and a policy that forbids it to fetch anything."""

from __future__ import annotations

import html
from importlib.resources import files
from string import Template


def html_page(title: str, body: str, *styles: str) -> str:
    """A whole HTML document around a body.

    Parameters
    ----------
    title : str
        Plain text.
    body : str
        HTML in which everything foreign is escaped already.
    *styles : str
        Style sheets of this package beside ``page.css``, for instance ``"report.css"``.

    Examples
    --------
    >>> "<main><p>Hello</p></main>" in html_page("A page", "<p>Hello</p>")
    True
    """
    style = "".join(_asset(name) for name in ("page.css", *styles))
    return Template(_asset("page.html")).substitute(title=html.escape(title), style=style, body=body)


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
