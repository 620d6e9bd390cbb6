"""Take the README's screenshots of the page and of the commands.

Usage: python -m deploy.pictures.screens PAGE EXCHANGE FOLDER. PAGE is the URL of the page of a
running `make demo`, EXCHANGE the URL of its simulator, and FOLDER the folder in which it was
started. Requires Debian's chromium.
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.text import Text

PICTURES = Path("docs/pictures")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
COLUMNS, ROWS = 132, 50
STOPPED = "AVAX-USDT"
COMMANDS = (
    "coverage",
    f"gaps --symbols {STOPPED}",
    "runs --limit 3",
    "verify --symbols BTC-USDT --lookback-hours 24",
    f"export --symbols BTC-USDT,{STOPPED} --format parquet --output out",
)


def main() -> None:
    """Take all screenshots."""
    page, exchange, folder = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        _page(browser, f"{page}/", "page", scheme="light", height=1000)
        start = _last_gap(page)
        url = f"{page}/symbols/{STOPPED}#{start}-{start}"
        _page(browser, url, "symbol", scheme="dark", height=900)
        _phone(browser, page)
        _terminal(browser, Path(folder), exchange)
        browser.close()


def _last_gap(page: str) -> int:
    """Return the start time of the last gap of the stopped symbol, in ms."""
    gaps = httpx.get(f"{page}/api/v1/gaps", params={"symbol": STOPPED}).json()["gaps"]
    return int(gaps[-1]["start"])


def _page(browser: Browser, url: str, name: str, *, scheme: str, height: int) -> None:
    size = {"width": 1200, "height": height}
    shown = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    _take(shown, url, name)


def _phone(browser: Browser, url: str) -> None:
    size = {"width": 390, "height": 844}
    shown = browser.new_page(
        viewport=size,  # type: ignore[arg-type]
        device_scale_factor=2,
        is_mobile=True,
        color_scheme="dark",
    )
    _take(shown, url, "phone")


def _take(shown: Page, url: str, name: str) -> None:
    shown.goto(url)
    shown.wait_for_timeout(4_000)
    shown.screenshot(path=PICTURES / f"{name}.png")
    shown.close()


def _terminal(browser: Browser, folder: Path, exchange: str) -> None:
    """Run the commands in a pseudo-terminal and draw their output."""
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115
    for command in COMMANDS:
        console.print(Text(f"$ blofin-agent {command}", style="bold"))
        console.print(Text.from_ansi(_run(command, folder, exchange)))
        console.print()
    svg = console.export_svg(title="blofin-agent", font_aspect_ratio=0.6)
    # Use the fonts of this machine; do not download any.
    svg = svg[: svg.index("@font-face")] + svg[svg.rindex("font-weight: 700;") + 24 :]
    shown = browser.new_page(viewport={"width": 1400, "height": 900})
    shown.set_content(f"<body style='margin:0;width:1400px'>{svg}</body>")
    shown.locator("svg").screenshot(path=PICTURES / "terminal.png")
    shown.close()


def _run(command: str, folder: Path, exchange: str) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    program = Path(sys.executable).with_name("blofin-agent")
    env = os.environ | {
        "BLOFIN_DATABASE_URL": "sqlite:///data/demo.db",
        "BLOFIN_SYMBOLS": "all",
        "BLOFIN_REST_URL": exchange,
        "TERM": "xterm-256color",
    }
    # Standard error is a pipe, so that progress bars become plain lines.
    process = subprocess.Popen(  # noqa: S603 - our own program
        [program, *command.split()], cwd=folder, env=env, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    _, lines = process.communicate()
    os.close(ours)
    return (lines + text).decode().replace("\r\n", "\n").rstrip()


if __name__ == "__main__":
    main()
