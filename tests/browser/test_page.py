"""The page in a real browser: what a person sees, points at, presses, and hears."""

import json
import re
import time
import urllib.error
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe

from blofin_agent.domain.candle import MINUTE
from blofin_agent.runtime.format import percent
from tests.browser.conftest import HOLED, LISTED, WITHHELD
from tests.processes import until

pytestmark = pytest.mark.slow("a browser before a real agent")

NAMES_WIDTH, AXIS, ROW = 110, 18, 18
"""Of the gap map, in pixels; as in map.js."""

TOKEN = "open-sesame"
TABLE = """() => [...document.querySelectorAll('#symbols tbody tr')].map(
    row => [...row.cells].map(cell => cell.innerText.trim()))"""
PIXEL = """([id, x, y]) => {
    const canvas = document.querySelector(`#${id} canvas`);
    const ratio = window.devicePixelRatio;
    return [...canvas.getContext('2d').getImageData(x * ratio, y * ratio, 1, 1).data];
}"""
COLOUR = """name => {
    const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
    pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--' + name);
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
}"""


def api(scene, path):
    with urllib.request.urlopen(f"{scene.agent.url}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)


def kind_at(page, place, x, y):
    """Return which colour of the legend a place of the map has."""
    found = page.evaluate(PIXEL, [place, x, y])
    names = ("held", "missing", "unavailable", "unlisted")
    return next((name for name in names if page.evaluate(COLOUR, name) == found), found)


def holds(page, script, within_s=10):
    """Wait until a script says yes. (The page's own policy forbids Playwright's way to wait.)"""
    until(lambda: page.evaluate(script), within_s)


def map_drawn(page, place="map"):
    holds(page, f"document.querySelector('#{place} canvas').style.height.endsWith('px')")


def test_the_numbers_are_those_of_metrics(scene, browse):
    """Each symbol's coverage, missing and unavailable; and the sums above."""
    page = browse(scene.agent.url)

    def same():
        samples = scene.agent.samples()
        rows = {row[0]: row for row in page.evaluate(TABLE)}
        assert set(rows) == {"BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT"}
        missing = 0
        for symbol, row in rows.items():
            of = f'{{symbol="{symbol}"}}'
            figures = [samples[f"blofin_candles_{kind}{of}"] for kind in ("missing", "unavailable")]
            missing += figures[0]
            wanted = [
                percent(samples[f"blofin_coverage_ratio{of}"]),
                *(f"{n:.0f}" for n in figures),
            ]
            if row[1:4] != wanted:
                return False
        return page.inner_text("#missing") == f"{missing:.0f}"

    # A minute may end between the two looks.
    until(same, 20)
    # The simulator's own holes are there too, proven.
    assert int(page.evaluate(TABLE)[1][3]) > 0


def test_the_gap_map_shows_a_known_hole_and_a_proven_one(scene, browse):
    """Red from the minute on at which the symbol stopped; yellow where BloFin has none."""
    page = browse(scene.agent.url)
    map_drawn(page)
    width = page.evaluate("document.querySelector('#map').clientWidth")
    told = api(scene, "map?columns=390")
    start, end = told["window"]["start"], told["window"]["end"]
    rows = [strip["symbol"] for strip in told["strips"]]

    def at(symbol, time):
        x = NAMES_WIDTH + (time - start) / (end - start) * (width - NAMES_WIDTH)
        return x, AXIS + rows.index(symbol) * ROW + 5

    assert kind_at(page, "map", *at(WITHHELD, scene.stopped - 20 * MINUTE)) in (
        "held",
        "unavailable",
    )
    for later in (5, 30, 60):
        place = at(WITHHELD, scene.stopped + later * MINUTE)
        assert kind_at(page, "map", *place) == "missing"
    proven = [gap for gap in api(scene, f"gaps?symbol={HOLED}")["gaps"] if gap["unavailable"]]
    hole = next(gap for gap in proven if gap["start"] > start + 10 * MINUTE)
    assert kind_at(page, "map", *at(HOLED, hole["start"] + MINUTE // 2)) == "unavailable"
    assert kind_at(page, "map", *at(LISTED, scene.listed - 30 * MINUTE)) == "unlisted"
    assert kind_at(page, "map", *at(LISTED, scene.listed + 50 * MINUTE)) in ("held", "unavailable")
    # Hovering tells the minutes.
    x, y = at(WITHHELD, scene.stopped + 30 * MINUTE)
    page.locator("#map canvas").hover(position={"x": x, "y": y})
    words = page.inner_text("#map-told")
    assert re.match(
        rf"{WITHHELD}, \d{{4}}-\d\d-\d\d \d\d:\d\d to \d\d:\d\d, minutes: \d+ missing$", words
    )


def test_a_click_in_the_map_zooms_to_the_symbol(scene, browse):
    """Its gaps as a list, its candles with the hole marked, its runs."""
    page = browse(scene.agent.url)
    map_drawn(page)
    rows = [strip["symbol"] for strip in api(scene, "map")["strips"]]
    box = page.locator("#map").bounding_box()
    y = AXIS + rows.index(WITHHELD) * ROW + 5
    page.locator("#map canvas").click(position={"x": box["width"] - 100, "y": y})
    page.wait_for_url(f"**/symbols/{WITHHELD}#*")
    assert page.inner_text("h1").startswith(WITHHELD)
    gaps = api(scene, f"gaps?symbol={WITHHELD}")["gaps"]
    assert page.locator("#gaps tbody tr").count() == len(gaps)
    newest = page.locator("#gaps tbody tr").first.inner_text()
    assert "missing" in newest
    until(lambda: "candles from" in page.inner_text("#chart-told"))
    box = page.locator("#chart").bounding_box()
    # At the foot of the chart, where the hole is: it lasts until now.
    page.locator("#newest").click()
    until(lambda: "stretch" in page.inner_text("#chart-told"))
    foot = page.evaluate(PIXEL, ["chart", box["width"] - 72 - 20, box["height"] - 20 - 4])
    assert foot == page.evaluate(COLOUR, "missing")
    page.locator("#chart canvas").hover(position={"x": box["width"] - 72 - 20, "y": 50})
    assert "asked for and not given" in page.inner_text("#chart-told")
    assert page.locator("#runs tbody tr").count() >= 1
    page.locator("#gaps button").first.click()
    page.get_by_role("button", name="7 days").click()
    assert page.get_by_role("button", name="7 days").get_attribute("aria-pressed") == "true"


def test_it_updates_by_itself(own_scene, browse):
    """A symbol that is given again heals before one's eyes, without a reload."""
    scene = own_scene()
    since = int(time.time() * 1000) // MINUTE * MINUTE - 30 * MINUTE
    scene.withhold(WITHHELD, since=since)
    scene.start()
    scene.filled()
    page = browse(scene.agent.url)
    page.evaluate("window.same = true")
    row = page.locator(f"#symbols tr[data-symbol='{WITHHELD}']")
    assert int(row.locator("td").nth(1).inner_text()) >= 28
    assert "minutes missing" in page.inner_text("h1")
    scene.withhold(WITHHELD)

    def healed():
        return int(row.locator("td").nth(1).inner_text()) == int(
            row.locator("td").nth(2).inner_text()
        )

    until(healed, 120)
    assert page.evaluate("window.same")
    until(lambda: "heal" in page.inner_text("#runs") or "periodic" in page.inner_text("#runs"), 20)


def test_it_says_when_it_lost_the_agent_and_when_it_is_back(own_scene, browse):
    """What is on the page is not taken for now."""
    scene = own_scene()
    agent = scene.start()
    scene.filled()
    page = browse(agent.url, quiet=["ERR_", "Failed to load"])
    holds(page, "document.querySelector('#symbols tbody tr')")
    assert page.locator("#lost").is_hidden()
    page.evaluate("""() => {
        const place = document.getElementById('spoken');
        window.told = [];
        new MutationObserver(() => window.told.push(place.textContent))
            .observe(place, {childList: true});
    }""")
    agent.process.kill()
    agent.process.wait()
    page.wait_for_selector("#lost:not([hidden])", timeout=20_000)
    assert "Lost the agent at" in page.inner_text("#lost")
    scene.start(API_PORT=agent.url.rpartition(":")[2], BLOFIN_SYMBOLS="BTC-USDT")
    page.wait_for_selector("#lost", state="hidden", timeout=30_000)
    # Its health may have changed since, and been told after it.
    until(lambda: page.evaluate("window.told.some(text => text.startsWith('The agent is back. '))"))
    until(lambda: [row[0] for row in page.evaluate(TABLE)] == ["BTC-USDT"], 20)


def test_many_pages_at_once_leave_one_another_room(scene, browse):
    """A browser keeps six connections to one host; a page that nobody sees keeps none."""
    page = browse(scene.agent.url)
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    for _ in range(8):
        other = page.context.new_page()
        other.goto(scene.agent.url)
        other.evaluate(hide, True)
    page.reload(timeout=10_000)
    map_drawn(page)
    other.evaluate(hide, False)
    other.wait_for_timeout(3_000)
    assert other.locator("#lost").is_hidden()


def test_an_agent_that_ends_is_not_held_up_by_who_looks(own_scene, browse):
    """It exits with 0 at once, although a page is open."""
    scene = own_scene()
    agent = scene.start()
    page = browse(agent.url, quiet=["ERR_", "Failed to load"])
    holds(page, "document.querySelector('#symbols tbody tr')")
    assert agent.stop(within_s=10) == 0


def test_the_keyboard_suffices(scene, browse):
    """Through the map with arrows, into a symbol with Enter; sorting, filtering."""
    page = browse(scene.agent.url)
    map_drawn(page)
    page.locator("#map").focus()
    page.keyboard.press("ArrowDown")
    words = page.inner_text("#map-told")
    assert "minutes:" in words
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    assert page.inner_text("#map-told").split(",")[0] != words.split(",")[0]
    names = lambda: [row[0] for row in page.evaluate(TABLE)]  # noqa: E731 - short
    page.get_by_role("button", name="Symbol").focus()
    page.keyboard.press("Enter")
    assert names() == sorted(names())
    page.keyboard.press("Enter")
    assert names() == sorted(names(), reverse=True)
    heads = page.locator("#symbols thead th").evaluate_all("all => all.map(one => one.ariaSort)")
    assert heads[0] == "descending"
    assert heads.count(None) == len(heads) - 1
    page.get_by_label("Filter").fill("btc")
    assert page.locator("#symbols tbody tr:visible").count() == 1
    assert page.inner_text("#shown") == "1 of 4 shown"
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/symbols/*")


PATHS = ["/", f"/symbols/{WITHHELD}", "/runs", "/runbook", "/nothing-is-here"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_no_barrier_is_found(scene, browse, path, scheme):
    """axe finds nothing, in either scheme: contrast, names, order, roles."""
    page = browse(scene.agent.url + path, color_scheme=scheme, bypass_csp=True, quiet=["404"])
    page.wait_for_timeout(500)
    found = Axe().run(page).response["violations"]
    told = [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found]
    assert told == []


def test_light_and_dark_are_two(scene, browse):
    """The ground, and the map's colours."""
    grounds = set()
    for scheme in ("light", "dark"):
        page = browse(scene.agent.url, color_scheme=scheme)
        map_drawn(page)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        rows = [strip["symbol"] for strip in api(scene, "map")["strips"]]
        y = AXIS + rows.index("BTC-USDT") * ROW + 5
        assert kind_at(page, "map", 400, y) in ("held", "unavailable")
    assert len(grounds) == 2


@pytest.mark.parametrize("path", PATHS)
def test_it_is_readable_on_a_phone(scene, browse, path):
    """Nothing sticks out to the side; what is wide scrolls in its own place."""
    page = browse(
        scene.agent.url + path,
        viewport={"width": 360, "height": 740},
        device_scale_factor=3,
        is_mobile=True,
        has_touch=True,
        quiet=["404"],
    )
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_a_script_the_figures_are_there(scene, browse):
    """For text browsers; it loads itself anew."""
    page = browse(scene.agent.url, java_script_enabled=False)
    assert page.locator("#symbols tbody tr").count() == 4
    assert "Newest candle" in page.inner_text("#symbols thead")


def test_with_a_token_the_browser_asks_for_it(own_scene, browse):
    """As a password; then everything works, the stream too."""
    scene = own_scene(API_TOKEN=TOKEN)
    agent = scene.start()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(agent.url, timeout=10)
    login = {"username": "me", "password": TOKEN}
    page = browse(agent.url, http_credentials=login)
    map_drawn(page)
    holds(page, "document.querySelectorAll('#symbols tbody tr').length === 3")
    page.wait_for_timeout(3_000)
    assert page.locator("#lost").is_hidden()
    page.reload()
    page.locator("#symbols a").first.click()
    until(lambda: "candles from" in page.inner_text("#chart-told"))


@pytest.mark.timeout(300)
def test_five_hundred_symbols(own_scene, browse):
    """All are there, in the table and on the map; filtering finds one."""
    scene = own_scene(symbols="500", hours=1, BLOFIN_SYMBOLS="all")
    scene.fill(1)
    scene.start()
    until(lambda: "500" in scene.agent.get("/api/v1/status") and api(scene, "status")["ready"], 60)
    page = browse(scene.agent.url)
    holds(page, "document.querySelectorAll('#symbols tbody tr').length === 500")
    map_drawn(page)
    height = page.evaluate("document.querySelector('#map canvas').clientHeight")
    assert height == 500 * 4 + AXIS
    name = scene.simulator.market.symbols[-1]
    page.get_by_label("Filter").fill(name)
    assert page.locator("#symbols tbody tr:visible th").first.inner_text() == name
