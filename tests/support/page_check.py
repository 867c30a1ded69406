"""The page in a headless Chromium: ``python -m tests.support.page_check FOLDER`` also keeps pictures of it."""

import sys
import tempfile
from pathlib import Path

from tests.support.chromium import Chromium
from tests.support.reports import EVIL, hostile, long_report, report_of, with_edit
from torch_bridge.render.html import render_html

WIDTHS = (1200, 768, 375, 320)
LIVE = "document.getElementById('live').textContent"
TIP = "(t => t.hidden ? '' : t.textContent)(document.getElementById('tip'))"
FOCUS = "document.activeElement.tagName.toLowerCase() + '.' + (document.activeElement.getAttribute('class') || '')"


def check(browser, folder, pictures=False):
    """Check every page at every width; ``folder`` takes the pages and, if asked for, pictures."""
    wrong = with_edit(report_of(decay=2e-2))
    reports = {
        "same": report_of(),
        "different": wrong,
        "hostile": hostile(wrong),
        "long": long_report(wrong, 100_000, 200),
    }
    for name, report in reports.items():
        path = folder / f"{name}.html"
        path.write_text(render_html(report))
        for width in WIDTHS:
            for dark in (False, True):
                browser.open(path, width, dark=dark, mobile=width < 500)
                is_whole(browser, path, report, width)
                if pictures:
                    browser.picture(folder / f"{name}-{width}{'-dark' if dark else ''}.png")
        has_labels(browser)
    browser.open(folder / "different.html", 1200)
    answers_the_pointer(browser)
    browser.open(folder / "different.html", 1200)
    answers_keys(browser)
    browser.open(folder / "different.html", 800)
    browser.print_style()
    assert browser.evaluate("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def is_whole(browser, path, report, width):
    """Nothing is asked for or complained of, no name runs as a script, and nothing is wider than the window."""
    assert browser.requests == [f"file://{path}"], browser.requests
    assert browser.complaints == [], browser.complaints
    assert browser.evaluate("document.title").endswith(": torch-bridge report")
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    shown = browser.evaluate("document.querySelector('h1').textContent")
    assert shown == str(report).replace("\x00", "\ufffd") or EVIL[:20] in shown
    assert browser.evaluate("document.querySelectorAll('img, main script, iframe').length") == 0
    assert browser.evaluate("document.querySelectorAll('svg.chart').length") == 1


def has_labels(browser):
    """What can be focused has a name, and text stands out from its ground by 4.5 to 1."""
    focusable = "[...document.querySelectorAll('[tabindex], input')]"
    unnamed = f"{focusable}.filter(e => !(e.getAttribute('aria-label') || e.labels?.length))"
    assert browser.evaluate(f"{unnamed}.map(e => e.outerHTML.slice(0, 80))") == []
    assert browser.evaluate(CONTRASTS) == []


def answers_the_pointer(browser):
    browser.hover("svg.chart", 0.5)
    assert browser.evaluate(TIP).startswith("step ")
    assert "gradient: " in browser.evaluate(TIP)
    browser.hover(".grid td[data-tip]")
    assert "distance" in browser.evaluate(TIP) or "identical" in browser.evaluate(TIP)
    browser.hover("h1")
    assert browser.evaluate(TIP) == ""


def answers_keys(browser):
    """Tab leads to chart and maps; arrows move in them, and what they reach is said aloud."""
    reached = []
    for _ in range(12):
        browser.press("Tab")
        reached.append(browser.evaluate(FOCUS))
        if reached[-1] == "svg.chart" and reached.count("svg.chart") == 1:
            first = browser.evaluate(LIVE)
            browser.press("ArrowRight")
            second = browser.evaluate(LIVE)
            assert first.startswith("step 0, ")
            assert second.startswith("step 1, ")
            browser.press("ArrowDown")
            assert browser.evaluate(LIVE).split(":")[0] != second.split(":")[0]
            browser.press("Escape")
            assert browser.evaluate(TIP) == ""
        if reached[-1].startswith("td.") and "map" not in reached:
            reached.append("map")
            before = browser.evaluate(LIVE)
            browser.press("ArrowRight", "ArrowDown", "ArrowLeft")
            assert browser.evaluate(LIVE) != before
            assert browser.evaluate("document.activeElement.getAttribute('aria-label')") == browser.evaluate(LIVE)
    assert {"svg.chart", "map"} <= set(reached), reached
    assert any(each.startswith("input") for each in reached)
    browser.evaluate("document.querySelector('input[name=chart][value=free]').click()")
    assert browser.evaluate("document.querySelector('svg.chart').getAttribute('aria-label')").find("drive free") > 0
    assert browser.evaluate(LIVE).startswith("drive free: ")


CONTRASTS = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => c.slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    const colour = e ? rgb(getComputedStyle(e).backgroundColor) : [255, 255, 255, 255];
    return colour[3] === 255 ? colour : ground(e.parentElement);
  };
  const low = [];
  for (const e of document.querySelectorAll('h1, h2, h3, p, td, th, li, dt, dd, span, label, figcaption')) {
    if (!e.textContent.trim() || e.closest('.unseen')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([e.outerHTML.slice(0, 120), (a + 0.05) / (b + 0.05)]);
  }
  return low.slice(0, 5);
})()"""


def main(folder=None):
    with tempfile.TemporaryDirectory() as made, Chromium() as browser:
        place = Path(folder or made)
        place.mkdir(parents=True, exist_ok=True)
        check(browser, place.resolve(), pictures=folder is not None)


if __name__ == "__main__":
    main(*sys.argv[1:])
