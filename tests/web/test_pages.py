"""Laws of the runbook's page: the Markdown file as HTML, with a place to link to for each part."""

import re

import pytest

from blofin_agent.web import pages

BOOK = """# When an alert fires

Look at [the page](/) first.

## BlofinCoverageLow

### Meaning

| state | coverage |
| --- | --- |
| critical | < 97 % |

### Mitigation

```console
$ blofin-agent backfill
```

## Blofin & `co`: 2 words

### Meaning

<script>alert(1)</script> and <b>bold</b>, [a trap](javascript:alert(1))
"""


@pytest.fixture
async def http(site, client_of):
    return client_of(site.app)


def ids(html):
    return re.findall(r'<h\d id="([^"]*)">', html)


def test_every_heading_has_an_id_of_its_own():
    """A section's is its title in small letters; what repeats from section to section follows."""
    told = pages.read_markdown(BOOK)
    assert ids(told.html) == [
        "when-an-alert-fires",
        "blofincoveragelow",
        "blofincoveragelow-meaning",
        "blofincoveragelow-mitigation",
        "blofin-co-2-words",
        "blofin-co-2-words-meaning",
    ]
    assert told.sections == [
        ("blofincoveragelow", "BlofinCoverageLow"),
        ("blofin-co-2-words", "Blofin & `co`: 2 words"),
    ]


def test_tables_code_and_links_become_html():
    """What a runbook is made of."""
    html = pages.read_markdown(BOOK).html
    assert "<td>critical</td>" in html
    assert "$ blofin-agent backfill" in re.search(r"<pre><code.*?</pre>", html, re.DOTALL)[0]
    assert '<a href="/">the page</a>' in html


def test_html_in_the_text_is_text():
    """Nothing in it runs."""
    html = pages.read_markdown(BOOK).html
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert 'href="javascript' not in html


async def test_the_runbook_is_served_with_a_list_of_its_sections(http):
    """Each `## ` of the file is listed and can be linked to, and no id is there twice."""
    answer = await http.get("/runbook")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    source = pages.resources.files("blofin_agent.web").joinpath("runbook.md").read_text()
    titles = re.findall(r"^## (.+)$", source, re.MULTILINE)
    nav = re.search(r'<nav aria-label="Alerts".*?</nav>', answer.text, re.DOTALL)[0]
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', nav)
    assert [title for _, title in links] == titles
    assert ("blofincoveragelow", "BlofinCoverageLow") in links
    found = ids(answer.text)
    assert {target for target, _ in links} <= set(found)
    assert len(found) == len(set(found))


async def test_the_runbook_may_not_run_anything(http):
    """The same policy as the page's: nothing from elsewhere, no script in the text."""
    policies = [
        (await http.get(path)).headers["Content-Security-Policy"] for path in ("/", "/runbook")
    ]
    assert policies[0] == policies[1]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policies[1]
    assert "unsafe" not in policies[1]


async def test_the_runbook_is_made_once(http, monkeypatch):
    """The file does not change while the agent runs."""
    made = []
    told = pages.RenderedText("", [])
    monkeypatch.setattr(pages, "read_markdown", lambda text: made.append(text) or told)
    pages.runbook.cache_clear()
    try:
        for _ in range(3):
            assert (await http.get("/runbook")).status_code == 200
    finally:
        pages.runbook.cache_clear()
    assert len(made) == 1


async def test_the_page_links_to_the_runbook_and_back(http):
    """Whoever looks at one finds the other."""
    assert '<a href="/runbook">Runbook</a>' in (await http.get("/")).text
    assert '<a href="/">Coverage</a>' in (await http.get("/runbook")).text
