"""How HTML looks in JupyterLab and in VS Code, told by a browser: alignment, what is cut off, what overlaps."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.plans import plan_of
from support.toy import layers_of, make_model
from thermocline.report.tables import html_block, html_table
from thermocline.tuning.plan.ribbon_picture import picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")

#: What these programs say of the tables in outputs (JupyterLab 4.6 and VS Code 1.9x).
LAB = """
.jp-RenderedHTMLCommon table{border-collapse:collapse;border:none;font-size:12px;table-layout:fixed;margin-left:auto;
 margin-bottom:1em;margin-right:auto}
.jp-RenderedHTMLCommon td,.jp-RenderedHTMLCommon th,.jp-RenderedHTMLCommon tr{vertical-align:middle;padding:.5em;
 line-height:normal;white-space:normal;max-width:none;border:none}
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon td,:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon th,
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon tr{text-align:right}
.jp-RenderedHTMLCommon tbody tr:nth-child(odd){background:#fff}
"""
CODE = """
table,thead,tr,th,td,tbody{border:none!important;border-spacing:0;border-collapse:collapse}
table,th,tr,td{vertical-align:middle;text-align:right} th,td{padding:4px 8px}
tr:nth-child(even){background-color:rgba(130,130,130,.08)}
"""
PROBE = """<script>
const all = query => [...document.querySelectorAll(query)];
const box = one => { const b = one.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
const cells = all("td,th").filter(one => one.offsetWidth);
document.title = JSON.stringify({
  wrong: cells.filter(one => getComputedStyle(one).textAlign != (one.matches(".n") ? "right" : "left")).length,
  cells: cells.length,
  cut: cells.filter(one => one.scrollWidth > one.clientWidth + 1).length,
  left: all("table").map(one => box(one)[0] - box(one.parentElement)[0]),
  grounds: [...new Set(all("tr,td").map(one => getComputedStyle(one).backgroundColor))],
  images: all("img").map(one => [one.naturalWidth, one.naturalHeight, one.width, one.height]),
  texts: all("#drawing text").map(box), drawing: all("#drawing svg").map(box)[0],
  height: document.body.scrollHeight,
});
</script>"""


def seen(parts: str, style: str, folder: Path) -> dict[str, Any]:
    """What a browser makes of HTML on a page with a style."""
    page = f"<!doctype html><meta charset=utf-8><style>{style}</style><body class=jp-RenderedHTMLCommon>{parts}"
    file = folder / "page.html"
    file.write_text(f"{page}<script>addEventListener('load', () => {{}})</script>{PROBE}", encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1000,900",
        f"--user-data-dir={folder / 'u'}",
    ]
    done = subprocess.run([CHROMIUM, *options, "--dump-dom", str(file)], capture_output=True, text=True, timeout=60)
    found: dict[str, Any] = json.loads(re.findall(r"<title>(.*?)</title>", done.stdout)[0])
    return found


@pytest.mark.parametrize("style", [LAB, CODE], ids=["JupyterLab", "VS Code"])
def test_texts_are_left_numbers_right_and_nothing_is_cut_off(style: str, tmp_path: Path) -> None:
    plan = plan_of("thaw and freeze again", layers_of(make_model()))
    wide = html_table(
        [["a reason that is long enough to be wrapped, " * 9, "0.5"] * 3], ["why", "score"] * 3, [1, 3, 5]
    )
    drawing, width, height = picture(plan)
    parts = f"<div>{plan._repr_html_()}</div>{html_block(wide)}<div id=drawing>{drawing}</div>"
    found = seen(parts.replace("<details>", "<details open>"), style, tmp_path)
    assert found["cells"] > 50
    assert (found["wrong"], found["cut"]) == (0, 0)
    assert found["left"] == [0, 0, 0]
    assert found["grounds"] == ["rgba(0, 0, 0, 0)"]
    assert all(natural == shown and natural[0] for *natural, a, b in found["images"] for shown in [[a, b]])
    assert found["images"][0][:2] == [round(width), round(height)]
    left, top, right, bottom = found["drawing"]
    texts = found["texts"]
    assert len(texts) > 8
    assert all(left <= a and top <= b and c <= right and d <= bottom for a, b, c, d in texts)
    pairs = [(one, other) for i, one in enumerate(texts) for other in texts[:i]]
    assert not [1 for (a, b, c, d), (e, f, g, h) in pairs if min(c, g) > max(a, e) and min(d, h) - max(b, f) > 3]
    assert found["height"] < 900
