"""A local HTTP server of files in memory, with the faults that servers have."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` by name and counts ``requests``; ``fault`` is '', 'broken off', 'silent' or 'without size'."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.fault, self.requests = "", 0
        self.url = f"http://127.0.0.1:{self.server_port}/releases/"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.requests += 1
        content = self.server.files.get(self.path.partition("?")[0].rsplit("/", 1)[-1])
        if self.server.fault == "silent":
            time.sleep(2)
            return
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        if self.server.fault != "without size":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.server.fault == "broken off" else content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server until the end of the block."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.05))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
