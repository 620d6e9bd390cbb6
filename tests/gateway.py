"""A Pushgateway for tests: notes what it is sent, and answers what it is told to."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Push(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: str


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pushes = []
        self.status, self.answer = 200, b""
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.host}"


class Handler(BaseHTTPRequestHandler):
    def take(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.pushes.append(Push(self.command, self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_PUT = do_POST = take  # noqa: N815 - http.server's names

    def log_message(self, *_args):
        pass


@contextmanager
def gateway():
    """Run one for the length of a block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def figures(text):
    """Read the text format; return the samples by name and labels. None is there twice."""
    found = {}
    names = set()
    for family in text_string_to_metric_families(text):
        assert family.name not in names
        names.add(family.name)
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found
            assert sample.timestamp is None
            found[key] = sample.value
    return found
