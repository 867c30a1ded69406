"""The page in a real browser; .ci/run says so where there is none."""

import pytest

from tests.support import chromium, page_check
from tests.support.reports import hostile, long_report, report_of
from torch_bridge.render.html import render_html


@pytest.mark.thorough
def test_the_page_in_chromium(tmp_path):
    if chromium.found():
        with chromium.Chromium() as browser:
            page_check.check(browser, tmp_path)
    else:  # as text: what a browser would be asked for is not there
        wrong = report_of(decay=2e-2)
        for report in (report_of(), wrong, hostile(wrong), long_report(wrong, 100_000, 200)):
            text = render_html(report)
            assert text.count("<script") == text.count("</script>") == 2
            assert not any(word in text for word in ("src=", "href=", "url("))
