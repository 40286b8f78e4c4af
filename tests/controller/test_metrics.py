"""What Prometheus reads: the figures of one tenant, by a token's id and secret, while hosts do not answer."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from simulated_platform import COMPUTE, Platform
from starlette.testclient import TestClient

from naos.engines.simulated.calls import SimulatedEngine
from naos.tenancy.bootstrap import load_credential


def scraped(client: TestClient, **options: object) -> dict[str, dict[tuple[str, ...], float]]:
    """name -> the labels' values, in the order of their names -> figure."""
    answer = client.get("/metrics", **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        family.name: {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(answer.text)
    }


def test_prometheus_sees_one_tenant_with_a_tokens_id_and_secret(simulated: Platform) -> None:
    simulated.deploy("gauge")
    anyone = TestClient(simulated.client.app)
    found = scraped(anyone, auth=load_credential(simulated.folder / "credentials"))
    assert found == scraped(simulated.client) | {"naos_scrape_seconds": found["naos_scrape_seconds"]} | {
        name: figures for name, figures in found.items() if name.endswith(("_age_seconds", "_used_bytes"))
    }
    pool = "pool-AZ05"
    assert (pool, "gauge") in found["naos_machine_running"]
    assert found["naos_machine_memory_bytes"][pool, "gauge"] > 0
    (volume,) = simulated.get(f"{COMPUTE}/datastores", name="volume-AZ05")
    limits = found["naos_volume_iops_limit"]
    assert limits[volume["storageClass"], "volume-AZ05", "AZ05"] == volume["iops"]
    assert set(found["naos_activities"]) == {("waiting",), ("running",)}
    other = scraped(simulated.stranger())
    assert not other["naos_machine_running"]
    assert not other["naos_volume_capacity_bytes"]


def test_a_scrape_asks_no_host(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated.deploy("busy")

    def asked(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a host was asked")

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedEngine, "_call", asked)
        assert scraped(simulated.client)["naos_machine_running"]["pool-AZ05", "busy"] == 1


def test_a_wrong_secret_opens_nothing(simulated: Platform) -> None:
    token_id, _ = load_credential(simulated.folder / "credentials")
    anyone = TestClient(simulated.client.app)
    assert anyone.get("/metrics", auth=(token_id, "wrong")).status_code == 401
    assert anyone.get("/metrics", headers={"Authorization": "Basic %%%"}).status_code == 401
    assert anyone.get("/metrics").status_code == 401
