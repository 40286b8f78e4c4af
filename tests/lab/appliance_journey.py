"""An appliance's way through a real platform: taken in, deployed with its properties, exported, taken in again."""

import hashlib
import random
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from real_platform import Real, until

MIB = 2**20
DATA = random.Random(42).randbytes(3 * MIB)
"""What is on the appliance's second disk."""
ENVELOPE = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="s" ovf:href="system.vmdk"/><File ovf:id="d" ovf:href="data.img.gz" ovf:compression="gzip"/>
 </References>
 <DiskSection><Info/><Disk ovf:diskId="s" ovf:fileRef="s" ovf:capacity="{size}"/>
  <Disk ovf:diskId="d" ovf:fileRef="d" ovf:capacity="8" ovf:capacityAllocationUnits="byte * 2^20"/></DiskSection>
 <NetworkSection><Info/><Network ovf:name="Réseau"/></NetworkSection>
 <VirtualSystem ovf:id="tiny"><Info/><Name>tiny</Name>
  <ProductSection><Info/>
   <Property ovf:key="hostname" ovf:type="string" ovf:userConfigurable="true" ovf:value="appliance"/>
   <Property ovf:key="licence" ovf:type="string" ovf:userConfigurable="true" ovf:required="true" ovf:value=""/>
  </ProductSection>
  <VirtualHardwareSection ovf:transport="iso"><Info/>
   <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
    <rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
   <Item><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
    <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:VirtualQuantity>160</rasd:VirtualQuantity></Item>
   <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
   <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/s</rasd:HostResource>
    <rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
   <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d</rasd:HostResource>
    <rasd:InstanceID>5</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
   <Item><rasd:Connection>Réseau</rasd:Connection><rasd:InstanceID>6</rasd:InstanceID>
    <rasd:ResourceType>10</rasd:ResourceType></Item>
  </VirtualHardwareSection>
 </VirtualSystem>
</Envelope>"""


def appliance(real: Real, folder: Path) -> Path:
    """naos-tiny with a second disk and properties, as an OVA file with a manifest."""
    tiny = next(item for item in real.json("template", "list") if item["name"] == "naos-tiny")
    real.naos("template", "export", tiny["name"], "--output", str(folder / "tiny.ova"))
    packed = unpacked(folder / "tiny.ova", folder / "tiny")
    raw = folder / "data.img"
    sector = b"\0" * 510 + b"\x55\xaa"
    raw.write_bytes(sector + DATA)
    subprocess.run(["gzip", "-f", raw], check=True)
    files = {
        "tiny.ovf": ENVELOPE.format(size=tiny["virtualSize"]).encode(),
        "system.vmdk": (packed / "disk-1.vmdk").read_bytes(),
        "data.img.gz": (folder / "data.img.gz").read_bytes(),
    }
    digests = (f"SHA256({name})= {hashlib.sha256(content).hexdigest()}\n" for name, content in files.items())
    files["tiny.mf"] = "".join(digests).encode()
    target = folder / "appliance.ova"
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return target


def unpacked(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    return folder


def travel(real: Real, folder: Path) -> None:
    """The whole way; nothing stays of it."""
    real.naos("template", "add", "appliance", str(appliance(real, folder)))
    real.naos("vm", "create", "app", "--template", "appliance", "--pool", "pool-AZ05", "--volume", "volume-AZ05",
              "--network", "Réseau=front", "--set", "licence=L-42", "--set", "hostname=app-1")  # fmt: skip
    until(lambda: "ready:" in real.naos("vm", "log", "app"), "the appliance is up")
    made = real.machine("app")
    assert (made["cpu"], made["memory"]) == (2, 160 * MIB)
    assert real.ask("app", "hostname; nproc") == "app-1 2"
    said = real.ask(
        "app", "mkdir -p /tmp/cd; mount -t iso9660 -o ro /dev/sr0 /tmp/cd; cat /tmp/cd/ovf-env.xml; umount /tmp/cd"
    )
    assert 'oe:key="licence" oe:value="L-42"' in said
    assert 'oe:key="hostname" oe:value="app-1"' in said
    assert 've:network="front"' in said
    wanted = hashlib.sha256((b"\0" * 510 + b"\x55\xaa" + DATA).ljust(8 * MIB, b"\0")).hexdigest()
    assert real.ask("app", "sha256sum < /dev/vdb").split()[0] == wanted
    real.ask("app", "echo kept > /root/note; sync")
    assert "shut it down" in real.attempt("vm", "export", "app", "--output", str(folder / "no.ova")).stderr
    real.naos("vm", "stop", "app")
    real.naos("vm", "export", "app", "--output", str(folder / "first.ova"))
    real.naos("template", "add", "again", str(folder / "first.ova"))
    real.naos("vm", "create", "twin", "--template", "again", "--pool", "pool-AZ06", "--volume", "volume-AZ06",
              "--no-start")  # fmt: skip
    real.naos("vm", "export", "twin", "--output", str(folder / "second.ova"))
    first, second = (unpacked(folder / f"{name}.ova", folder / name) for name in ("first", "second"))
    for name in ("disk-1.vmdk", "disk-2.vmdk"):
        subprocess.run(["qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", first / name, second / name], check=True)
    real.naos("vm", "start", "twin")
    until(lambda: "ready:" in real.naos("vm", "log", "twin"), "the twin is up")
    assert real.ask("twin", "cat /root/note; sha256sum < /dev/vdb").split()[:2] == ["kept", wanted]
    real.naos("vm", "stop", "twin", "--force")
    for name in ("app", "twin"):
        real.naos("vm", "delete", name, "--yes")
    for name in ("appliance", "again"):
        real.naos("template", "delete", name, "--yes")
