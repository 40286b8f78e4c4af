"""A guest's processor as the definition of a machine shows it."""

import pytest
from lxml import etree

from naos.engines.hypervisor import boot, processors, xml
from naos.engines.ports import DomainSpec, Processor

DEFINITION = """<cpu mode='custom' match='exact'>
  <model fallback='allow'>Skylake-Server-IBRS</model>
  <vendor>Intel</vendor>
  <feature policy='require' name='vmx'/>
  <feature policy='require' name='pdpe1gb'/>
  <feature policy='disable' name='mpx'/>
</cpu>"""
BASELINE = Processor("Skylake-Server-IBRS", ("avx2", "pdpe1gb", "vmx"), DEFINITION)
MACHINE = "0b0e1f5c-2f8e-4b55-9f25-7a3b5a6f0d11"


def _shown(acceleration: str, *, nested: bool = False) -> etree._Element:
    spec = DomainSpec(MACHINE, "m", 4, 2, 2**30, nested=nested, max_memory=2**31)
    root = xml.new(spec, xml.Traits(acceleration, "10.0.0.1"))
    processors.show(root, BASELINE)
    boot.set_nested(root, nested=nested, offered=BASELINE.features)
    return root


@pytest.mark.parametrize(("nested", "policy"), [(False, "disable"), (True, "require")])
def test_the_guest_is_shown_the_baseline_and_nothing_of_the_blade(nested: bool, policy: str) -> None:
    (shown,) = _shown("kvm", nested=nested).findall("cpu")
    assert dict(shown.attrib) == {"mode": "custom", "match": "exact", "check": "partial"}
    (model,) = shown.findall("model")
    assert (model.text, model.get("fallback"), shown.findtext("vendor")) == ("Skylake-Server-IBRS", "forbid", "Intel")
    features = [(entry.get("name"), entry.get("policy")) for entry in shown.findall("feature")]
    assert sorted(features) == [("mpx", "disable"), ("pdpe1gb", "require"), ("vmx", policy)]
    assert shown.find("topology") is not None, "cores are what they were"
    assert shown.find("numa/cell") is not None


def test_showing_it_again_changes_nothing() -> None:
    root = _shown("kvm")
    before = _entries(root)
    processors.show(root, BASELINE)
    boot.set_nested(root, nested=False, offered=BASELINE.features)
    assert _entries(root) == before


def _entries(root: etree._Element) -> list[bytes]:
    return sorted(etree.tostring(entry, method="c14n", with_tail=False) for entry in root.find("cpu"))
