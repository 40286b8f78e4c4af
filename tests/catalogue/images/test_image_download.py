"""Fetching images by HTTP from a server of this test's own, on the loopback address."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from crafted_images import MIB, disk_bytes

from naos.catalogue.images import download, intake
from naos.catalogue.images.errors import DownloadFailed, FormatLie, ImageTooLarge, NotAnImage, SourceRefused

IMAGE = disk_bytes()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        answer = getattr(self, "answer_" + self.path.strip("/").partition("/")[0].partition(".")[0].partition("?")[0])
        answer()

    def send(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in {"content_length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def answer_disk(self):
        self.send(200, IMAGE)

    def answer_unannounced(self):
        self.send(200, IMAGE, content_length=None)

    def answer_short(self):
        self.send(200, IMAGE[: MIB // 2], content_length=len(IMAGE))

    def answer_missing(self):
        self.send(404, b"not here")

    def answer_page(self):
        self.send(200, b"<!doctype html><title>log in first</title>")

    def answer_encoded(self):
        self.send(200, IMAGE, content_encoding="gzip")

    def answer_there(self):
        self.send(302, location="/disk.img")

    def answer_loop(self):
        self.send(302, location="/loop")

    def answer_inwards(self):
        self.send(302, location="http://169.254.169.254/latest/meta-data")

    def answer_local(self):
        self.send(302, location="file:///etc/passwd")

    def log_message(self, *_words):
        pass


@pytest.fixture(scope="module")
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.asked = []
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """Take in a path of the server's; what is left when it is refused must be nothing."""
    target = tmp_path / "library" / "kept"

    def taken(path, **options):
        url = path if "://" in path else f"http://user:pass@127.0.0.1:{server.server_port}/{path}"
        try:
            return intake.accept(url, target, **{"max_virtual_size": 8 * MIB, "allow_loopback": True, **options})
        finally:
            left = [file.name for file in target.parent.iterdir()] if target.parent.exists() else []
            assert left in ([], [target.name])

    taken.target = target
    return taken


@pytest.mark.parametrize("path", ["disk.img", "unannounced", "there", "disk?token=x"])
def test_an_image_is_fetched_and_kept(fetch, path):
    shares = []
    facts = fetch(path, checksum=f"sha256:{hashlib.sha256(IMAGE).hexdigest()}", progress=shares.append)
    assert facts.virtual_size == len(IMAGE)
    assert shares == sorted(shares)
    assert fetch.target.is_file()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("short", DownloadFailed),
        ("missing", DownloadFailed),
        ("encoded", DownloadFailed),
        ("loop", DownloadFailed),
        ("page", NotAnImage),
        ("disk.qcow2", FormatLie),
        ("inwards", SourceRefused),
        ("local", SourceRefused),
        ("http://169.254.169.254/latest", SourceRefused),
        ("http://[fe80::1]/disk.img", SourceRefused),
        ("http://[::ffff:169.254.1.1]/disk.img", SourceRefused),
        ("http://0.0.0.0/disk.img", SourceRefused),
        ("http:///disk.img", SourceRefused),
        ("http://127.0.0.1:1/disk.img", DownloadFailed),
        ("http://127.0.0.1:99999/disk.img", DownloadFailed),
        ("http://host.invalid/disk.img", DownloadFailed),
    ],
)
def test_what_cannot_be_fetched_or_may_not_is_refused(fetch, path, error):
    with pytest.raises(error) as caught:
        fetch(path)
    assert "user:pass" not in str(caught.value)


def test_this_machine_is_not_asked_unless_the_caller_says_so(fetch, server):
    server.asked.clear()
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
        with pytest.raises(SourceRefused):
            fetch(f"http://{host}:{server.server_port}/disk.img", allow_loopback=False)
    assert server.asked == []


@pytest.mark.parametrize("path", ["disk.img", "unannounced"])
def test_a_file_over_the_limit_is_not_fetched_to_its_end(server, tmp_path, path):
    url = f"http://127.0.0.1:{server.server_port}/{path}"
    bounds = download.Bounds(size=MIB, allow_loopback=True)
    with pytest.raises(ImageTooLarge):
        download.fetch(url, tmp_path / "file", bounds, lambda _share: None)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size <= MIB


def test_credentials_and_queries_are_not_shown():
    assert download.shown("https://user:pass@host:8443/a/b.img?token=x#y") == "https://host:8443/a/b.img"
    assert download.name_of("https://host/a/b.img?token=x") == "b.img"
    assert download.name_of("https://host") == "host"
