"""Bad input for the real processes: each test is named by the fault, and nothing may break."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from blofin_agent.domain.candle import Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import candles, instruments
from tests.processes import COMMAND, until

SECRET = "s3cr3t-p4ss"
MINUTE = 60_000
HOSTILE = (
    *(
        "../../evil",
        "<script>alert(1)</script>",
        ":BOOM:",
        "[red]X[/red]",
        "A\nB",
        "A\x00",
        "A\x1b[2J",
    ),
    *("", ".", "BTC USDT", "*", "A" * 10_000, 'A"} 1\nfake_metric{x="', "\ud800"),
)

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")


def told(done):
    """Return what a command said on standard error; it must be short, plain and no traceback."""
    assert "Traceback" not in done.stderr
    for line in done.stderr.splitlines():
        assert line.expandtabs().isprintable(), line
        assert len(line) < 1_000
    return done.stderr


class Evil(BaseHTTPRequestHandler):
    """A BloFin whose every answer has something hostile in it, and something good."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "instruments" in self.path:
            names = [*HOSTILE, "BTC-USDT", "BTC-USDT"]
            data = [{"instId": name, "listTime": str(1 << 61), "state": "live"} for name in names]
            data.append(
                {"instId": "B" + "T" * 3, "state": "\x1b[31m" * 50, "listTime": "9" * 5_000}
            )
        else:
            last = int(self.path.partition("after=")[2].partition("&")[0])
            row = ["2", "3", "1", "2", "10", "0.5", "20", "1"]
            data = [[str(last - n * MINUTE), *row] for n in range(1, 100)]
            for time_ms in (-(1 << 63), 1 << 70, -MINUTE * 7, "9" * 5_000, "\n\x1b[31m", 0.5):
                data.append([str(time_ms), *row])
        body = json.dumps({"code": "0", "msg": "\x1b[31m", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def evil(place):
    """Point the settings at it: every symbol is wanted."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place.env |= {
        "BLOFIN_REST_URL": f"http://127.0.0.1:{server.server_port}",
        "BLOFIN_WS_URL": "ws://127.0.0.1:1",
        "BLOFIN_SYMBOLS": "all",
        "BACKFILL_LOOKBACK_HOURS": "1",
    }
    yield server
    server.shutdown()
    server.server_close()


def test_hostile_names_reach_no_file_label_page_or_terminal(place, evil, run_agent):
    """Of a list of instruments only symbols are taken; the rest is counted, and logged once."""
    done = place.run("backfill", "-v")
    assert done.returncode in (0, 3), done.stderr
    assert told(done).count("rows rejected feed=instruments reason=shape ") == 1
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert place.query("SELECT symbol FROM instruments ORDER BY 1") == [("BTC-USDT",), ("BTTT",)]
    assert place.query("SELECT min(open_time) > 0, count(*) FROM candles GROUP BY symbol")[0][0]
    done = place.run("export", "-o", "files")
    told(done)
    names = {path.name for path in (place.folder / "files").iterdir()}
    assert names == {"BTC-USDT-1m.csv", "manifest.json"}
    assert not list(place.folder.parent.glob("evil*"))
    agent = run_agent()
    until(lambda: json.loads(agent.get("/readyz"))["ready"])
    rejected = 'blofin_rows_rejected_total{feed="instruments",reason="shape"}'
    # The list is read once an hour, so it may be known already: then nothing is rejected anew.
    assert agent.samples()[rejected] in (0, len(HOSTILE))
    page = agent.get("/") + agent.get("/symbols/BTC-USDT") + agent.get("/runs")
    assert "alert(1)" not in page
    (one,) = json.loads(agent.get("/api/v1/coverage"))["symbols"]
    assert one["symbol"] == "BTC-USDT"
    assert "fake_metric" not in agent.get("/metrics")
    assert agent.stop() == 0
    assert "Traceback" not in (place.folder / "err").read_text()


def test_garbage_at_the_agents_own_port_ends_its_connection_alone(place, evil, run_agent):
    """HTTP/2 with a path that is no ASCII ended the whole agent."""
    agent = run_agent()
    host, _, port = agent.url.removeprefix("http://").partition(":")
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
    fields = b"\x82\x86\x04\x02/\xff\x41\x0912" + b"7.0.0.1"
    request = len(fields).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + fields
    asked = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    for garbage in (
        hello + request,
        hello + b"\xff" * 200,
        b"\xff\x00" * 500,
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        asked
        + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: \xff\r\n\r\n",
        asked + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \xff\r\n\r\n",
        asked + b"Content-Length: 99999999999999999999\r\n\r\n",
        asked + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        address = (host, int(port))
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=1) as line:
            line.sendall(garbage)
            line.shutdown(socket.SHUT_WR)
            while line.recv(65_536):
                pass
        assert agent.get("/healthz") == "alive\n", garbage[:40]
    assert agent.process.poll() is None
    assert agent.stop() == 0
    log = (place.folder / "err").read_text()
    assert "Traceback" not in log
    assert log.count("] closed an HTTP connection that sent an invalid request error=") == 1


def test_a_file_of_settings_with_a_mark_before_it_counts_from_its_first_line(place):
    """Some editors write one. Bytes that are no text are one line."""
    (place.folder / ".env").write_bytes(b"\xef\xbb\xbfLOG_LEVEL=loud\n")
    done = place.run("coverage")
    assert (done.returncode, "LOG_LEVEL=loud" in told(done)) == (2, True)
    (place.folder / ".env").write_bytes(os.urandom(50_000) + b"\xff\n")
    done = place.run("coverage")
    assert (done.returncode, "cannot be read" in told(done)) == (2, True)


@pytest.fixture
def filled(place):
    """Store an hour of one symbol."""
    place.env |= {"BLOFIN_SYMBOLS": "BTC-USDT", "BACKFILL_LOOKBACK_HOURS": "1"}
    now = int(time.time() * 1000) // MINUTE * MINUTE
    held = [Candle(now - ago * MINUTE, 1, 2, 1, 2, 1, 1, 1) for ago in range(-2, 70)]
    store = open_store(f"sqlite:///{place.folder}/data/blofin.db")
    with store.engine.begin() as connection:
        instruments.save_instruments(connection, [Instrument("BTC-USDT", 1, "live")], now)
        candles.insert(connection, Timeframe.M1, [CandleBatch("BTC-USDT", Source.LIVE, held)])
    store.close()
    return place


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("coverage > /dev/full", 1, "standard output cannot be written"),
        ("--help > /dev/full", 1, "standard output cannot be written"),
        ("export -o - > /dev/full", 1, "No space left on device"),
        ("export -o - >&-", 1, "standard output is closed"),
        ("backfill --dry-run | true; exit ${PIPESTATUS[0]}", 1, ""),
        ("export -o - --lookback-hours 1 | true; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_an_output_that_takes_nothing_is_one_line(filled, line, code, says):
    """A full disk, a closed descriptor; a reader of a pipe that has had enough is told nothing."""
    command = f"{COMMAND[0]} {' '.join(COMMAND[1:])} {line}"
    done = subprocess.run(
        [shutil.which("bash"), "-c", command],
        cwd=filled.folder,
        # Most is lost at the last flush, of what was buffered.
        env=filled.env | {"PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert says in told(done) if says else "cannot" not in told(done)
    assert "Exception ignored" not in done.stderr


def test_an_encoding_that_lacks_signs_is_no_fault(filled):
    """The bar of `coverage` is no ASCII."""
    done = filled.run("coverage", PYTHONIOENCODING="ascii")
    assert (done.returncode, told(done)) == (0, "")
    assert "\\u2588" in done.stdout


def test_what_is_no_file_is_not_replaced(filled):
    """As root a device would be gone: /dev/null, say."""
    os.mkfifo(filled.folder / "device")
    done = filled.run("export", "-o", "files", "--manifest", "device")
    assert done.returncode == 1
    assert "something that is no file" in told(done)
    assert (filled.folder / "device").is_fifo()


def test_no_password_comes_out_anywhere(place, simulate, run_agent):
    """Of URLs, proxies and the token: not in a log, a page, a metric, a file or the database."""
    simulate("BTC-USDT")
    token = f"{SECRET}-token"
    place.env |= {
        "BLOFIN_REST_URL": place.env["BLOFIN_REST_URL"].replace("//", f"//me:{SECRET}%2F@"),
        "BLOFIN_WS_URL": place.env["BLOFIN_WS_URL"].replace("//", f"//me:{SECRET}@")
        + f"?key={SECRET}",
        "HTTPS_PROXY": f"http://me:{SECRET}@127.0.0.1:1",
        "API_TOKEN": token,
        "BLOFIN_SYMBOLS": "BTC-USDT",
        "BACKFILL_LOOKBACK_HOURS": "1",
        "LOG_LEVEL": "debug",
    }
    gateway = f"http://me:{SECRET}%40@127.0.0.1:1"
    said = []
    for words in (
        ("check",),
        ("backfill", "-v", "--pushgateway", gateway),
        ("export", "-o", "files", "--json"),
        ("verify", "--sample", "1"),
        ("run", "--help"),
    ):
        done = place.run(*words, LOG_FORMAT="json" if len(words) % 2 else "console")
        told(done)
        said += [done.stdout, done.stderr]
    assert any("lists 1 instrument" in text for text in said)
    agent = run_agent(LOG_FORMAT="json")
    asked = (
        f"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close"
    )
    host, _, port = agent.url.removeprefix("http://").partition(":")

    def get(path):
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall((asked % path + "\r\n\r\n").encode())
            return b"".join(iter(lambda: line.recv(65_536), b"")).decode()

    until(lambda: '"connected":true' in get("/api/v1/status"))
    paths = ("/", "/metrics", "/runs", "/symbols/BTC-USDT", "/readyz", "/nowhere")
    api = ("status", "coverage", "gaps", "runs", "map", "openapi.json", "candles?symbol=BTC-USDT")
    for path in (*paths, *(f"/api/v1/{name}" for name in api)):
        answer = get(path)
        assert answer.startswith("HTTP/1.1 200") or path == "/nowhere", path
        said.append(answer)
    said.append(agent.get("/metrics"))
    time.sleep(0.2)
    assert agent.stop() == 0
    said += [(place.folder / name).read_text() for name in ("files/manifest.json", "err")]
    with contextlib.closing(sqlite3.connect(place.folder / "data/blofin.db")) as database:
        said.append("\n".join(database.iterdump()))
    for text in said:
        assert SECRET not in text, text[max(0, text.index(SECRET) - 300) :][:600]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_crash_shows_no_password(place, form):
    """Neither does a traceback's text, nor a log of an error with all that it carries."""
    place.env |= {
        "BLOFIN_DATABASE_URL": f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db",
        "BLOFIN_REST_URL": f"http://me:{SECRET}@127.0.0.1:1",
        "API_TOKEN": SECRET,
    }
    crash = (
        "import structlog\n"
        "from blofin_agent import config\n"
        "from blofin_agent.observability import log_setup\n"
        "settings = config.load()\n"
        f"log_setup.configure({form!r}, 'debug')\n"
        "def work(settings, url):\n"
        "    raise RuntimeError(f'{settings!r} {settings.api_token}')\n"
        "try:\n"
        "    work(settings, settings.blofin_database_url)\n"
        "except RuntimeError:\n"
        "    structlog.get_logger().exception('it broke')\n"
        "work(settings, settings.blofin_database_url)\n"
    )
    done = subprocess.run(
        [COMMAND[0], "-c", crash],
        cwd=place.folder,
        env=place.env | {"COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("RuntimeError") >= 2
    assert SECRET not in done.stdout + done.stderr
