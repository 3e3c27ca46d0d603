"""The page: what it shows, to whom, in a real browser; metrics; what may be asked with a token."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from madem.errors import InputError
from madem.serve import page
from madem.serve.config import ServiceConfig
from madem.serve.page import application, asked, token_of
from madem.serve.status import Status
from madem.serve.store import Store
from madem.serve.worker import Worker
from tests.serve.running import pictures, small, waited
from tests.serve.test_worker import fed

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""


@pytest.fixture
def shown(folder: Path) -> Iterator[tuple[ServiceConfig, Path]]:
    """Serve the page of a folder in which a worker has judged some frames."""
    import uvicorn

    config = small()
    worker = Worker(config, folder)
    fed(worker, pictures(config, 5))
    worker.status.written = 0.0
    worker.status.write()
    server = uvicorn.Server(uvicorn.Config(
        application(config, folder), host="127.0.0.1", port=config.page, log_level="warning"
    ))  # fmt: skip
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield config, folder
    server.should_exit = True
    thread.join(10)


def got(config: ServiceConfig, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """Return the code and the text of an answer."""
    data = None if body is None else json.dumps(body).encode()
    try:
        request = Request(f"http://127.0.0.1:{config.page}{path}", data, headers)
        with urlopen(request, timeout=10) as held:
            return held.status, held.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_everybody_may_look(shown: tuple[ServiceConfig, Path]) -> None:
    config, folder = shown
    code, text = got(config, "/")
    assert (code, "madem detector" in text) == (200, True)
    assert [got(config, path)[0] for path in ("/page.js", "/page.css")] == [200, 200]
    held = json.loads(got(config, "/status.json")[1])
    assert held["processes"]["worker"]["counts"]["frames"] == 5
    assert [each["number"] for each in held["generations"]] == [1]
    assert token_of(folder) not in json.dumps(held)
    assert [got(config, path)[0] for path in ("/none", "/../token", "/token")] == [404] * 3
    hosts = {"evil.example": 400, "127.0.0.1.evil.example:80": 400, "": 400, "[::1": 400,
             "localhost:9": 200, "[::1]:9": 200, "192.168.0.7:80": 200}  # fmt: skip
    assert {host: got(config, "/", None, Host=host)[0] for host in hosts} == hosts


def test_metrics_are_those_that_prometheus_reads(shown: tuple[ServiceConfig, Path]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(got(shown[0], "/metrics")[1])
        for sample in family.samples
    }
    assert found["madem_events_total", "frames", "worker"] == 5
    assert found["madem_model",] == 1
    assert found["madem_joules_total", "judging", "worker"] > 0


def test_nothing_is_done_without_the_token(shown: tuple[ServiceConfig, Path]) -> None:
    config, folder = shown
    token = token_of(folder)
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    for given in ({}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {token[:-1]}"},
                  {"Authorization": token}):  # fmt: skip
        assert got(config, "/control", {"shadow": False}, **given)[0] == 401
    assert got(config, f"/control?token={token}", {"shadow": False})[0] == 401
    assert not (folder / "control.json").exists()
    right = {"Authorization": f"Bearer {token}"}
    assert got(config, "/control", {"shadow": False}, **right) == (200, '{"shadow":false}')
    assert json.loads((folder / "control.json").read_text()) == {"shadow": False}
    assert got(config, "/control", {"shadow": "no"}, **right)[0] == 400
    assert got(config, "/control", "x" * 20_000, **right)[0] == 413
    assert got(config, "/control", {"generation": 7}, **right)[0] == 400
    assert got(config, "/control", {"generation": 1, "pin": 1}, **right)[0] == 200
    assert got(config, "/control", None, **right)[0] == 405


def test_a_client_that_hangs_makes_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    config = small()
    monkeypatch.setattr(page, "LONGEST", 1.0)
    monkeypatch.setattr(page, "MOST", 10)
    server = uvicorn.Server(page.serving(config, folder))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    hung = []
    for n in range(40):
        each = socket.create_connection(("127.0.0.1", config.page))
        each.setblocking(False)
        asks = b"GET /status.json HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        each.send(asks if n % 2 else (asks + b"\r\n") * 20)  # half a question, or reads no answer
        hung.append(each)
    waited(lambda: got(config, "/metrics")[0] == 200, 10)
    for each in hung:
        each.close()
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def test_a_disk_that_is_full_is_told_to_who_asks_for_something(
    shown: tuple[ServiceConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = shown

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "write_atomically", full)
    right = {"Authorization": f"Bearer {token_of(folder)}"}
    code, text = got(config, "/control", {"shadow": False}, **right)
    assert (code, json.loads(text)) == (507, {"error": "not kept: No space left on device"})
    assert not (folder / "control.json").exists()


def test_a_clock_that_steps_back_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, own = small(), time.time
    worker = Worker(config, folder)
    fed(worker, pictures(config, 2))
    worker.status.write()
    monkeypatch.setattr(time, "time", lambda: own() - 86_400)
    worker.status.written = 0.0
    fed(worker, pictures(config, 2), 2)
    worker.status.write()
    assert worker.model is not None
    assert worker.store.save(worker.model.state(), {"why": "test"}) == 2
    assert {each["model"] for each in fed(worker, pictures(config, 2), 4)} == {2}
    asked(worker.store, {"shadow": False})
    assert worker.control()["shadow"] is False
    held = {family.name: family for family in page.Samples(folder).collect()}
    assert all(s.value >= 0 for s in held["madem_status_age_seconds"].samples)
    assert held["madem_free_bytes"].samples[0].value > 0
    assert [each["number"] for each in page.generations(worker.store)] == [2, 1]


def test_a_token_that_others_can_read_is_refused(folder: Path) -> None:
    os.chmod(folder / "token", 0o644)  # noqa: PTH101
    with pytest.raises(InputError, match="others can read the file"):
        token_of(folder)


@pytest.mark.parametrize("held", [None, [], {}, {"shadow": 1}, {"pin": True}, {"shell": "ls"}])
def test_what_cannot_be_asked_is_refused(folder: Path, held: object) -> None:
    with pytest.raises(InputError, match="control: "):
        asked(Store(folder), held)


class Browser:
    """A headless browser, spoken to by its own protocol over a pipe."""

    def __init__(self, folder: Path) -> None:
        (theirs, self.out), (self.into, ours) = os.pipe(), os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
                 "--disable-dev-shm-usage", f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{theirs} 4>&{ours}', BROWSER, *flags],
            pass_fds=(theirs, ours), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ | {"HOME": str(folder)},
        )  # fmt: skip
        os.close(theirs)
        os.close(ours)
        self.number, self.left, self.session = 0, b"", ""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self.session = str(attached["sessionId"])

    def __call__(self, method: str, **given: object) -> dict[str, object]:
        """Ask the browser for something, and return its answer."""
        self.number += 1
        held: dict[str, object] = {"id": self.number, "method": method, "params": given}
        if self.session:
            held["sessionId"] = self.session
        os.write(self.out, json.dumps(held).encode() + b"\0")
        while True:
            while b"\0" not in self.left:
                part = os.read(self.into, 1 << 16)
                assert part, "the browser has ended"
                self.left += part
            text, _, self.left = self.left.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def run(self, script: str) -> object:
        """Return what a script on the page comes to."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return dict(found["result"]).get("value")  # type: ignore[call-overload]

    def until(self, script: str, seconds: float = 30.0) -> None:
        """Wait until a script comes to true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.2)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self.out)
        os.close(self.into)


@pytest.mark.skipif(not BROWSER, reason="no chromium here: apt install chromium")
def test_the_page_in_a_real_browser(shown: tuple[ServiceConfig, Path], tmp_path: Path) -> None:
    config, folder = shown
    browser = Browser(tmp_path / "browser")
    try:
        browser("Page.navigate", url=f"http://127.0.0.1:{config.page}/")
        browser.until("document.body?.dataset.drawn === 'yes'")
        worker = Status(folder / "status", "worker")
        worker.counts["frames"] = 5
        worker.shown = json.loads((folder / "status/worker.json").read_text())
        del worker.shown["at"], worker.shown["counts"], worker.shown["waits"]
        worker.write()  # alive again, however long the browser took
        browser.until("document.getElementById('state').textContent.includes('shadow')")
        assert "frames\t5" in str(browser.run("document.getElementById('verdicts').innerText"))
        data = "document.getElementById('frame').getContext('2d').getImageData(0,0,512,128).data"
        assert len(set(browser.run(f"[...new Set({data})]"))) > 3  # type: ignore[call-overload]
        assert browser.run("document.querySelectorAll('#scores rect').length") == 41
        assert "photons or more" in str(browser.run("document.getElementById('where').innerText"))
        assert browser.run("document.getElementById('shadow').checked") is True
        assert "calibrated" in str(browser.run("document.getElementById('generations').innerText"))
        send = ("document.getElementById('token').value = %s;"
                "document.getElementById('shadow').checked = true;"
                "document.getElementById('shadow').click(); true")  # fmt: skip
        browser.run(send % json.dumps("wrong"))
        browser.until("document.getElementById('answer').textContent.includes('token is wrong')")
        browser.run(send % json.dumps(token_of(folder)))
        browser.until("document.getElementById('answer').textContent === 'done: shadow false'")
        assert json.loads((folder / "control.json").read_text()) == {"shadow": False}
        pin = "document.querySelector('[data-key=pin] input').value = 7; "
        browser.run(pin + "document.querySelector('[data-key=pin] button').click(); true")
        browser.until("document.getElementById('answer').textContent.includes('generation 7')")
        wide = "document.documentElement.scrollWidth"
        size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser("Emulation.setDeviceMetricsOverride", **size)
        assert browser.run(wide) == browser.run("document.documentElement.clientWidth")
    finally:
        browser.close()


@pytest.mark.skipif(not BROWSER, reason="no chromium here: apt install chromium")
def test_the_page_before_the_first_frame_and_when_frames_are_rejected(
    shown: tuple[ServiceConfig, Path], tmp_path: Path
) -> None:
    config, folder = shown
    status = Status(folder / "status", "worker", every=0)
    status.write()
    browser = Browser(tmp_path / "browser")

    def until(kind: str, text: str) -> None:
        status.write()
        browser.until(f"document.getElementById('state').textContent.includes('{text}')")
        assert browser.run("document.getElementById('state').className") == kind

    try:
        browser("Page.navigate", url=f"http://127.0.0.1:{config.page}/")
        browser.until("document.body?.dataset.drawn === 'yes'")
        until("waiting", "waiting for frames (shadow: all is kept)")
        asked(Store(folder), {"shadow": False})
        until("waiting", "waiting for frames (rejecting)")
        status.counts["frames"] = 5
        until("rejecting", "live, rejecting")
        asked(Store(folder), {"shadow": True})
        until("shadow", "live, shadow: all is kept")
    finally:
        browser.close()
