"""Single reads under load: a machine of 10,000 through naos, a resource provider of 10,000 through OpenStack Placement.

Both on this machine in one run, each as one server process on SQLite, asked by the same clients over kept connections.
naos also checks a signed session and the caller's rights at every call; Placement runs with its `noauth2` middleware.
Placement is installed from its package into an environment of this run's own. Run: `.venv/bin/python benchmarks/placement_reads.py`.
"""

import http.client
import multiprocessing
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from many_machines import COMPUTE, prepare, reading
from simulated_platform import settings_in

from naos.tenancy.bootstrap import load_credential

COUNT, CLIENTS, SECONDS, WARM_UP = 10_000, 4, 8.0, 2.0
PACKAGES = ("openstack-placement", "gunicorn", "setuptools<81")
CONFIGURATION = """
[api]
auth_strategy = noauth2
[placement_database]
connection = sqlite:///{folder}/placement.db
sync_on_startup = True
"""
WSGI = """
from placement import wsgi
application = wsgi.init_application()
"""
FILL = """
import sqlite3, sys, uuid
with sqlite3.connect(sys.argv[1]) as database:
    for number in range(int(sys.argv[2])):
        row = database.execute(
            "INSERT INTO resource_providers (uuid, name, generation) VALUES (?, ?, 0)",
            (str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))), f"provider-{number:05}"),
        ).lastrowid
        database.execute("UPDATE resource_providers SET root_provider_id = ? WHERE id = ?", (row, row))
"""


@dataclass(frozen=True)
class Load:
    """What to ask: paths below `address`, with these headers."""

    host: str
    port: int
    headers: dict[str, str]
    paths: list[str]


@dataclass(frozen=True)
class Result:
    """rate: answers a second of all clients. Times in seconds."""

    rate: float
    median: float
    p99: float


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="naos-placement-") as name:
        folder = Path(name)
        ours = of_naos(folder / "naos")
        theirs = of_placement(folder / "placement")
    for title, result in (("naos, a machine", ours), ("Placement, a resource provider", theirs)):
        print(
            f"{title:32} {result.rate:7.0f}/s  median {result.median * 1000:6.1f} ms  p99 {result.p99 * 1000:6.1f} ms"
            f"  ({CLIENTS} clients, {COUNT} rows)"
        )
    print(f"requests a second, ratio: {ours.rate / theirs.rate:.2f} (wanted: more than 3)")
    print(f"p99, ratio: {ours.p99 / theirs.p99:.2f}")


# ---------------------------------------------------------------------------------------------------------- the servers


def of_naos(folder: Path) -> Result:
    folder.mkdir()
    machines = prepare(folder, COUNT)
    port = free_port()
    with process(lambda: serve_naos(folder, port)):
        wait_for(f"http://127.0.0.1:{port}/health")
        token_id, secret = load_credential(settings_in(folder).credentials)
        login = f"http://127.0.0.1:{port}/iam/v2/auth/personal_access_token"
        session = httpx.post(login, json={"id": token_id, "secret": secret}, trust_env=False).text
        paths = [f"{COMPUTE}/virtual_machines/{machine}" for machine in machines]
        return measure(Load("127.0.0.1", port, {"Authorization": f"Bearer {session}"}, paths))


def serve_naos(folder: Path, port: int) -> None:
    from naos.api.serving import serve

    with reading(folder) as (app, _):
        serve(app, fd=None, host="127.0.0.1", port=port)


def of_placement(folder: Path) -> Result:
    folder.mkdir()
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    configuration = folder / "placement.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder), encoding="utf-8")
    (folder / "served.py").write_text(WSGI, encoding="utf-8")
    port, environment = free_port(), {**os.environ, "OS_PLACEMENT_CONFIG_DIR": str(folder), "PYTHONPATH": str(folder)}
    command = [python, "-m", "gunicorn", "--workers=1", f"--threads={CLIENTS}", "--keep-alive=60"]
    with subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "served:application"],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/")
            subprocess.run([python, "-c", FILL, str(folder / "placement.db"), str(COUNT)], check=True)
            paths = [f"/resource_providers/{uuid.uuid5(uuid.NAMESPACE_OID, str(number))}" for number in range(COUNT)]
            headers = {"X-Auth-Token": "admin", "OpenStack-API-Version": "placement 1.39"}
            return measure(Load("127.0.0.1", port, headers, paths))
        finally:
            server.terminate()


@contextmanager
def process(target: object) -> Iterator[None]:
    """A forked process that runs `target`; it is asked to stop when the block ends."""
    child = multiprocessing.get_context("fork").Process(target=target, daemon=True)
    child.start()
    try:
        yield
    finally:
        os.kill(child.pid or 0, signal.SIGTERM)
        child.join(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            httpx.get(url, trust_env=False, timeout=5)
        except httpx.TransportError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


# ------------------------------------------------------------------------------------------------------------- the load


def measure(load: Load) -> Result:
    """Ask from `CLIENTS` processes for `SECONDS`, after a warm-up."""
    with multiprocessing.get_context("fork").Pool(CLIENTS) as pool:
        pool.starmap(ask, [(load, WARM_UP, number) for number in range(CLIENTS)])
        answers = pool.starmap(ask, [(load, SECONDS, number) for number in range(CLIENTS)])
    times = sorted(time for mine in answers for time in mine)
    return Result(len(times) / SECONDS, statistics.median(times), times[int(len(times) * 0.99)])


def ask(load: Load, seconds: float, number: int) -> list[float]:
    """One client's times, over one connection. Any answer but 200 ends the run."""
    chosen = random.Random(number)
    connection = http.client.HTTPConnection(load.host, load.port, timeout=60)
    times, end = [], time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        connection.request("GET", chosen.choice(load.paths), headers=load.headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {body[:200]!r}")
        times.append(time.perf_counter() - started)
    connection.close()
    return times


if __name__ == "__main__":
    main()
