"""The HTML report: one file, hostile text inert, pictures that match their numbers."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from signward.findings import Code, Effect
from signward.policy.record import Record
from signward.report import charts, webpage
from signward.report.display import visible
from signward.report.payload import Payload
from signward.state import Outcome
from tests.builders.records import accepted, finding, refused, scan

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"><img src=x onerror=alert(1)>'",
    "a\nb\tc\x00",
    "gpj.\u202eexe",
    "\u2028\u2029",
    "&lt;b&gt;",
    "$data ${script} $$",
    "caf\\xe9",
)


class Elements(HTMLParser):
    """Collects tags, attributes and the text of script and style."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag in ("script", "style"):
            self._inside = f"{tag}{attributes.get('type', '')}"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside] = self.raw.get(self._inside, "") + data
        else:
            self.text += data


def page(records: list[Record], title: str = "Signward report") -> Elements:
    out = io.BytesIO()
    webpage.write(records, out, title=title)
    elements = Elements()
    elements.feed(out.getvalue().decode())
    return elements


def data_of(elements: Elements) -> dict[str, Any]:
    data = json.loads(elements.raw["scriptapplication/json"])
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_only_ever_text(name: str) -> None:
    harmless = page([refused("a", Code.DIGEST_MISMATCH), accepted("svchost.exe", "b")], "c")
    found = finding(Code.DIGEST_MISMATCH, Effect.REJECT, name, found=name, hint=name, clause=name)
    bad = msgspec.structs.replace(
        refused(name, Code.DIGEST_MISMATCH), findings=(found,), message=name, container=name
    )
    hostile = page([bad, accepted("svchost.exe", name)], name)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    data = data_of(hostile)
    assert visible(name) in data["columns"]["path"]
    assert visible(name) in data["strings"]
    assert not set("\u202e\u2028\u2029\x00") & set(hostile.text)


def test_the_page_admits_its_own_script_and_style_alone() -> None:
    elements = page(list(scan(30)))
    policy = next(
        a["content"] or "" for t, a in elements.tags if a.get("http-equiv", "") and t == "meta"
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(elements.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_page_asks_no_network_for_anything() -> None:
    for tag, attributes in page(list(scan(300))).tags:
        assert tag not in ("iframe", "object", "embed", "img", "base", "audio", "video")
        assert "src" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag == "link":
            assert attributes["href"] == "data:,"
        if tag == "a":
            assert attributes.get("rel") == "noreferrer noopener" or attributes["href"] == "#files"


def test_every_record_is_in_the_data_once() -> None:
    records = list(scan(120))
    data = data_of(page(records))
    assert data["columns"]["path"] == [visible(r.subject) for r in records]
    assert len(data["details"]) == 120
    assert {len(column) for column in data["columns"].values()} == {120}


def test_shared_parts_are_stored_once() -> None:
    data = data_of(page([accepted(f"f{n}") for n in range(50)]))
    assert len(data["findings"]) == 1
    assert len(data["certificates"]) == 2
    assert len(data["strings"]) == len(set(data["strings"]))


def test_ranks_follow_the_order_people_expect() -> None:
    data = data_of(page([refused(name) for name in ("b", "A", "a", "É", "10")]))
    order = sorted(zip(data["ranks"]["path"], data["columns"]["path"], strict=True))
    assert [name for _, name in order] == ["10", "A", "a", "b", "É"]


def test_techniques_are_bits_in_their_order() -> None:
    data = data_of(page([refused("a.ps1", Code.DIGEST_MISMATCH), accepted("b")]))
    assert data["columns"]["attack"] == [0b010101, 0]
    assert data["techniques"][2][0] == "T1554"


def test_details_keep_path_status_and_times() -> None:
    data = data_of(page([accepted("a")]))
    (signature,) = data["details"][0]["signatures"]
    strings = data["strings"]
    leaf = data["certificates"][signature["path"][0][0]]
    assert strings[leaf[0]] == "CN=Contoso, Inc.,O=Contoso, Inc."
    assert strings[signature["path"][0][1]] == "unknown"
    assert strings[signature["state"]] == "trusted"
    assert signature["proven"][0] == data["columns"]["time"][0]


def test_an_absent_size_and_time_are_told_apart_from_zero() -> None:
    data = data_of(page([refused("a", size=None), refused("b", size=0)]))
    assert data["columns"]["size"] == [-1, 0]
    assert data["columns"]["time"] == [None, None]


def test_the_lead_says_what_matters() -> None:
    text = page([accepted("a"), refused("b"), refused("c"), refused("d", Code.EXPIRED)]).text
    assert "4 files judged: 1 accepted, 3 rejected (most often unsigned)." in text
    assert "Validation time 2026-11-23 09:00 UTC" in text


def test_an_empty_report_is_a_page() -> None:
    elements = page([])
    assert "0 files judged" in elements.text
    assert "No file was judged." in elements.text
    assert data_of(elements)["columns"]["path"] == []


def test_a_technique_says_which_files_touch_it() -> None:
    records = [refused(f"{n}.ps1") for n in range(25)] + [accepted("ok.ps1")]
    text = page(records).text
    assert "25 files touch it, of 26 asked" in text
    assert "and 5 more files" in text
    assert "No file here is of this sort" in text


def test_outcomes_differ_by_pattern_and_by_word() -> None:
    bar = charts.outcome_bar({Outcome.ACCEPTED: 1, Outcome.REJECTED: 2}, 4)
    assert 'fill="url(#p-rejected)"' in bar
    assert "2 rejected, 0 indeterminate, 1 accepted" in bar
    widths = [float(w) for w in re.findall(r'width="([\d.]+)%" height', bar)]
    assert widths == [100.0, 50.0, 25.0]


def test_bars_beyond_the_limit_are_counted_together() -> None:
    text = page([accepted(f"f{n}", f"Publisher {n:02}") for n in range(11)]).text
    assert "3 more, 3 files" in text


def test_the_timeline_has_a_column_per_year_that_has_files() -> None:
    drawn = charts.timeline(Counter({2010: 3, 2012: 12_345}))
    assert drawn.count("<rect") == 2
    assert re.findall(r">(\d{4})</text>", drawn) == ["2010", "2011", "2012"]
    assert ">12k</text>" in drawn


def test_few_labels_fit_a_phone() -> None:
    drawn = charts.timeline(Counter(dict.fromkeys(range(1990, 2027), 1)))
    assert len(re.findall(r">(\d{4})</text>", drawn)) <= charts.MAX_LABELS


def test_a_small_share_is_not_zero() -> None:
    figure = charts.outcomes_figure({Outcome.ACCEPTED: 99_999, Outcome.REJECTED: 1})
    assert "&lt; 0.1 %" in figure


def test_data_cannot_end_its_script_element() -> None:
    payload = Payload()
    payload.add(refused("</script><!--&\u2028"))
    assert not set("<>&\u2028") & set(payload.json())


@pytest.mark.parametrize(
    ("paths", "root"),
    [
        ([], ""),
        (["/a/b/c"], "/a/b/"),
        (["/a/b/c", "/a/bd"], "/a/"),
        (["/a/b", "/a/b/c"], "/a/"),
        (["x", "y"], ""),
    ],
)
def test_the_common_folder_is_told_once(paths: list[str], root: str) -> None:
    data = data_of(page([refused(path) for path in paths]))
    assert data["root"] == root
