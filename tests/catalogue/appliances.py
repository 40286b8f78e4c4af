"""OVF descriptors and OVA files made for tests."""

import hashlib
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

HARDWARE = """
<VirtualHardwareSection ovf:transport="iso com.vmware.guestInfo"><Info/>
 <System><vssd:VirtualSystemType>vmx-14 vmx-13</vssd:VirtualSystemType></System>
 <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
  <rasd:VirtualQuantity>4</rasd:VirtualQuantity><vmw:CoresPerSocket>2</vmw:CoresPerSocket></Item>
 <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>
  <rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
 <Item><rasd:ElementName>SCSI 0</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID>
  <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
 <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:ElementName>Data</rasd:ElementName>
  <rasd:HostResource>ovf:/disk/data</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent>
  <rasd:ResourceType>17</rasd:ResourceType></Item>
 <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>System</rasd:ElementName>
  <rasd:HostResource>ovf:/disk/system</rasd:HostResource><rasd:InstanceID>5</rasd:InstanceID><rasd:Parent>3</rasd:Parent>
  <rasd:ResourceType>17</rasd:ResourceType></Item>
 <Item><rasd:Connection>Réseau</rasd:Connection><rasd:ElementName>Network adapter 1</rasd:ElementName>
  <rasd:InstanceID>6</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
  <rasd:ResourceType>10</rasd:ResourceType></Item>
 <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
 <vmw:ExtraConfig ovf:required="false" vmw:key="disk.enableUUID" vmw:value="TRUE"/>
</VirtualHardwareSection>"""
PRODUCT = """
<ProductSection><Info/><Product>Appliance</Product>
 <Category>Identity</Category>
 <Property ovf:key="hostname" ovf:type="string" ovf:userConfigurable="true" ovf:value="appliance"
   ovf:qualifiers="MinLen(1) MaxLen(20)"><Label>Host name</Label><Description>Its
   name.</Description></Property>
 <Property ovf:key="password" ovf:type="string" ovf:userConfigurable="true" ovf:password="true" ovf:value=""/>
 <Property ovf:key="workers" ovf:type="uint8" ovf:userConfigurable="true" ovf:value="2"/>
 <Property ovf:key="mode" ovf:type="string" ovf:qualifiers='ValueMap{"small","large"}' ovf:userConfigurable="true" ovf:value="small"/>
 <Property ovf:key="build" ovf:type="string" ovf:value="42"/>
</ProductSection>
<ProductSection ovf:class="org.example" ovf:instance="1"><Info/>
 <Property ovf:key="licence" ovf:type="string" ovf:userConfigurable="true" ovf:required="true" ovf:value=""/>
</ProductSection>"""
FILES = '<File ovf:id="f1" ovf:href="system.vmdk"/><File ovf:id="f2" ovf:href="data.vmdk"/>'
DISKS = """<Disk ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="system" ovf:fileRef="f1"/>
 <Disk ovf:capacity="3145728" ovf:diskId="data" ovf:fileRef="f2"/>"""
NETWORKS = '<NetworkSection><Info/><Network ovf:name="Réseau"/></NetworkSection>'


def envelope(**parts: Any) -> bytes:
    """A descriptor of a machine with two disks; each part can be replaced."""
    chosen = {
        "head": "",
        "files": FILES,
        "disks": DISKS,
        "networks": NETWORKS,
        "hardware": HARDWARE,
        "product": PRODUCT,
        "systems": None,
        **parts,
    }
    system = f"""<VirtualSystem ovf:id="vm"><Info/><Name>Ma machine</Name>
     <OperatingSystemSection ovf:id="96" vmw:osType="debian12_64Guest"><Info/><Description>Debian 12</Description>
     </OperatingSystemSection>{chosen["hardware"]}{chosen["product"]}</VirtualSystem>"""
    return f"""<?xml version="1.0" encoding="UTF-8"?>{chosen["head"]}
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
 xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
 xmlns:vmw="http://www.vmware.com/schema/ovf">
 <References>{chosen["files"]}</References>
 <DiskSection><Info/>{chosen["disks"]}</DiskSection>
 {chosen["networks"]}
 {system if chosen["systems"] is None else chosen["systems"]}
</Envelope>""".encode()


def vmdk(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        raw, made = Path(folder) / "raw", Path(folder) / "vmdk"
        raw.write_bytes(content)
        options = ("-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized")
        subprocess.run(["qemu-img", "convert", "-q", *options, raw, made], check=True)
        return made.read_bytes()


def appliance(target: Path, *, manifest: bytes = b"", system: bytes = b"", data: bytes = b"") -> Path:
    """An archive with two disks of 2 and 3 MiB, and its manifest, to which `manifest` is added."""
    mib = 2**20
    files = {
        "machine.ovf": envelope(),
        "system.vmdk": vmdk((system or b"\x55\xaa" * 4096).ljust(2 * mib, b"\0")),
        "data.vmdk": vmdk((data or b"data" * 4096).ljust(3 * mib, b"\0")),
    }
    digests = "".join(f"SHA256({name})= {hashlib.sha256(content).hexdigest()}\n" for name, content in files.items())
    files["machine.mf"] = digests.encode() + manifest
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return target
