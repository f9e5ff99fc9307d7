"""Pages that need nothing else: their tags nest, and nothing in them runs or fetches."""

from __future__ import annotations

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Collects tags and checks that they nest."""

    void = frozenset({"meta", "img", "br", "line", "polyline"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("p", "li", "ul") or (self.open and self.open[-1] == tag):
            assert self.open.pop() == tag


def check_self_contained(page: str) -> Tags:
    tags = Tags(page)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags.seen}
    for _, attributes in tags.seen:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:image").startswith("data:image")
    assert "url(" not in page and "@import" not in page and "default-src 'none'" in page
    return tags
