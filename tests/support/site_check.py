"""The built site in a headless Chromium: ``python -m tests.support.site_check SITE [FOLDER]`` can keep pictures of it.

No page is wider than its window, in light and dark, on a desk and on a phone; no picture is missing; and nothing comes
from elsewhere.
"""

import sys
from pathlib import Path

from tests.support.chromium import Chromium
from tests.support.docs_pages import DOCS

WIDTHS = (1280, 390)
API = ("api/index", "api/funcsgd", "api/funcsgd.sgd", "api/torch_bridge.check", "api/torch_bridge.Report")


def pages():
    """The pages that are looked at, as they are called in the contents."""
    written = [path.stem for path in sorted(DOCS.glob("*.md")) if path.stem != "README"]
    return [*written, *(f"notebooks/{path.stem}" for path in (DOCS / "notebooks").glob("*.ipynb")), *API]


def check(browser, site, pictures=None):
    """Look at every page at every width; return what is wrong, in words."""
    wrong = []
    for page in pages():
        path = (site / f"{page}.html").resolve()
        if not path.exists():
            wrong.append(f"{page}: not built")
            continue
        for width in WIDTHS:
            for dark in (False, True):
                browser.open(path, width, dark=dark, mobile=width < 500)
                name = f"{page.replace('/', '-')}-{width}{'-dark' if dark else ''}"
                wide = browser.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    wrong.append(f"{name}: {wide} pixels wide")
                asked = [url for url in browser.requests if not url.startswith(("file://", "data:"))]
                if asked:
                    wrong.append(f"{name}: asks for {asked}")
                broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
                if missing := browser.evaluate(broken):
                    wrong.append(f"{name}: lacks {missing}")
                if pictures:
                    browser.picture(pictures / f"{name}.png")
    return wrong


def main(site, folder=None):
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    with Chromium() as browser:
        wrong = check(browser, Path(site), folder and Path(folder))
    print("\n".join(wrong) or f"{len(pages())} pages at {len(WIDTHS)} widths, light and dark: nothing is wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
