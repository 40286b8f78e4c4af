"""What users of others' clouds complain of, on real machines: a libvirt that hangs, a guest that speaks in another's name."""

import base64
import os
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from real_platform import URL, Real, until

from naos.cli.client import Connection, opened
from naos.cli.failures import Failure
from naos.tenancy.bootstrap import load_credential

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SUBJECT, NEIGHBOUR = "first-az05", "first-az06"
ADDRESS = "192.168.100.12"
PING = f"ping -c 1 -W 2 {ADDRESS} > /dev/null && echo heard || echo silence"


@pytest.fixture(autouse=True)
def _healthy(real: Real) -> Iterator[None]:
    """After any test the doctor finds nothing."""
    yield
    until(lambda: real.json("doctor") == [], f"no findings: {real.attempt('doctor').stdout}")


def test_a_guest_that_takes_another_mac_address_is_not_heard(real: Real) -> None:
    """A machine speaks with the address that it was given; with it, it is heard again."""
    mac = real.ask(SUBJECT, "cat /sys/class/net/eth0/address")
    assert real.ask(SUBJECT, PING) == "heard"
    change = "ip link set eth0 down; ip link set eth0 address {0}; ip link set eth0 up; " + PING
    assert real.ask(SUBJECT, change.format("02:00:00:00:00:99")) == "silence"
    until(lambda: real.ask(SUBJECT, change.format(mac)) == "heard", "the guest is heard with its own address")


@contextmanager
def stopped(real: Real, blade: str) -> Iterator[None]:
    """The blade's libvirt takes connections and never answers."""
    (pid,) = real.program_pids(blade, "libvirtd")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def scraped(real: Real) -> dict[str, dict[str, float]]:
    secret = base64.b64encode(":".join(load_credential(real.root / "credentials")).encode()).decode()
    request = urllib.request.Request(f"{URL}/metrics", headers={"Authorization": f"Basic {secret}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        family.name: {sample.labels["machine"]: sample.value for sample in family.samples}
        for family in families
        if family.name.startswith("naos_machine_")
    }


def refusal(real: Real, path: str) -> str:
    """What the API says instead of an answer."""
    with opened(Connection(URL, real.root / "credentials")) as api, pytest.raises(Failure) as refused:
        api.get(path)
    return str(refused.value)


@pytest.mark.soak
def test_a_libvirt_that_hangs_holds_up_nobody_else_and_is_known_again_when_it_answers(real: Real) -> None:
    """Other blades' machines are made, stopped and started; its own keep running, their figures stay and age; a
    question to one of them ends by its deadline, in words."""
    machine = real.machine(SUBJECT)
    blade = machine["host"]["name"]

    def connected() -> bool:
        hosts = {host["name"]: host for host in real.json("blade", "list")}
        return bool(hosts[blade]["metrics"]["connected"])

    until(lambda: SUBJECT in scraped(real)["naos_machine_memory_usage_bytes"], "there are figures")
    before = scraped(real)
    with stopped(real, blade), ThreadPoolExecutor() as pool:
        asked = pool.submit(refusal, real, f"/compute/v1/vcenters/virtual_machines/{machine['id']}/consoles")
        real.naos("vm", "stop", NEIGHBOUR, "--force")
        real.naos("vm", "start", NEIGHBOUR)
        until(lambda: not connected(), "the blade is noted as away")
        now = scraped(real)
        usage, age = "naos_machine_memory_usage_bytes", "naos_machine_sample_age_seconds"
        assert now[usage][SUBJECT] == before[usage][SUBJECT]
        assert now[age][SUBJECT] > before[age][SUBJECT]
        assert now["naos_machine_running"][SUBJECT] == 1
        assert blade in asked.result()
    until(connected, "the blade is back")
    until(lambda: "ready:" in real.naos("vm", "log", NEIGHBOUR), "the neighbour is up")
    until(lambda: real.ask(SUBJECT, PING) == "heard", "its guest never noticed")
