"""naos-tiny as a guest: what it says, what it takes from its seed, and how it follows its hardware."""

import subprocess

import pytest
from guest_rig import ADDRESS, MAC, Guest, cdrom, disk

from naos.catalogue.images import tiny
from naos.catalogue.images.seed import hostname_for, write_seed

pytestmark = pytest.mark.lab
MIB = 1024 * 1024
PASSWORD = "'pass word'"
USER_DATA = """#!/bin/sh
echo "the first script of $(hostname) ran"
date > /root/first-script
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return tiny.build_tiny(tmp_path_factory.mktemp("image") / "naos-tiny.qcow2")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a tester", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def boot_disk(image, tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.path, path, "200M"], check=True
    )
    return path


@pytest.fixture(scope="module")
def guest(boot_disk, key, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guest")
    write_seed(
        folder / "seed.iso",
        instance_id="first",
        hostname=hostname_for("Zoë's machine"),
        ssh_keys=[key.with_suffix(".pub").read_text()],
        addresses=[{"mac": MAC, "address": f"{ADDRESS}/24", "gateway": "10.0.2.2"}],
        user_data=USER_DATA,
        password=PASSWORD,
    )
    running = Guest(folder, [*disk(boot_disk), *cdrom(folder / "seed.iso")])
    yield running
    running.close()


def test_the_image_is_small_and_stands_alone(image):
    assert image.file_size < 48 * 1024**2
    assert image.virtual_size == 64 * 1024**2


def test_a_guest_takes_its_name_address_and_script_from_the_seed(guest):
    guest.expect(rf"naos-tiny zoe-s-machine ready: eth0 {ADDRESS}/24 \| disks: vda 200M")
    guest.expect("the first script of zoe-s-machine ran")
    guest.expect("user-data: exit code 0")
    assert guest.type("hostname").strip() == "zoe-s-machine"
    assert "default via 10.0.2.2 dev eth0" in guest.type("ip route")
    assert "1 packets received" in guest.type("ping -c1 -W5 10.0.2.2")


def root_size(guest):
    """Bytes of the mounted root file system."""
    return int(guest.type("stat -f -c '%b %S' / | awk '{ print $1 * $2 }'"))


def test_its_root_fills_its_disk_at_first_boot(guest):
    assert root_size(guest) > 150 * MIB


def test_its_root_follows_a_disk_that_grows_under_it(guest):
    guest.qmp("block_resize", device="disk0", size=400 * MIB)
    guest.expect("naos-tiny grew: /dev/vda2 [0-9]+M to 3[0-9]+M")
    assert root_size(guest) > 350 * MIB


def test_the_agent_answers_freezes_and_thaws(guest):
    with guest.agent() as ask:
        ask("guest-ping")
        assert ask("guest-get-host-name")["host-name"] == "zoe-s-machine"
        assert ask("guest-fsfreeze-freeze") >= 1
        assert ask("guest-fsfreeze-status") == "frozen"
        assert ask("guest-fsfreeze-thaw") >= 1
        assert ask("guest-fsfreeze-status") == "thawed"
        addresses = [
            address["ip-address"]
            for interface in ask("guest-network-get-interfaces")
            for address in interface.get("ip-addresses", [])
        ]
    assert ADDRESS in addresses
    assert guest.type("echo written > /root/after && cat /root/after").strip() == "written"


def test_the_seeds_key_opens_ssh_and_no_other_does(guest, key, tmp_path):
    entered = guest.ssh(key, "id -un; hostname")
    assert entered.stdout.split() == ["root", "zoe-s-machine"]
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    assert guest.ssh(other, "true").returncode != 0


def test_the_seeds_password_opens_ssh_and_no_other_does(guest, tmp_path):
    assert guest.ssh_with_password(PASSWORD, "hostname", tmp_path).stdout.strip() == "zoe-s-machine"
    assert guest.ssh_with_password("another", "hostname", tmp_path).returncode != 0


def test_a_disk_that_is_plugged_in_can_be_used_and_taken_out(guest, tmp_path):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "more.qcow2", "64M"], check=True)
    guest.qmp(
        "blockdev-add",
        node_name="more",
        driver="qcow2",
        file={"driver": "file", "filename": str(tmp_path / "more.qcow2")},
    )
    guest.qmp("device_add", driver="virtio-blk-pci", drive="more", id="more")
    guest.expect("naos-tiny disk vdb added: 64M")
    assert guest.type(
        "mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo kept > /mnt/file && umount /mnt && echo fine"
    ).endswith("fine\n")
    guest.qmp("device_del", id="more")
    guest.expect("naos-tiny disk vdb removed")


def test_an_adapter_that_is_plugged_in_is_seen(guest):
    guest.qmp("netdev_add", type="user", id="net1", restrict=True)
    guest.qmp("device_add", driver="virtio-net-pci", netdev="net1", id="nic1", mac="52:54:00:00:00:02")
    guest.expect("naos-tiny nic eth1 added: 52:54:00:00:00:02")
    assert ",UP" in guest.type("ip link show eth1")


@pytest.mark.soak
def test_the_power_button_shuts_it_down_and_it_comes_back_as_itself(guest, boot_disk, tmp_path):
    guest.qmp("system_powerdown")
    guest.expect("naos-tiny zoe-s-machine going down: poweroff")
    guest.expect_off()
    subprocess.run(["qemu-img", "resize", "-q", boot_disk, "600M"], check=True)
    again = Guest(tmp_path, disk(boot_disk))
    try:
        again.expect(rf"naos-tiny zoe-s-machine ready: eth0 {ADDRESS}/24 \| disks: vda 600M")
        assert again.type("ls /root").split() == ["after", "first-script"]
        assert root_size(again) > 550 * MIB
        assert "clean" in again.type("dmesg | grep -c 'recovery' || echo clean")
        assert again.type("cat /var/log/user-data.log") == "the first script of zoe-s-machine ran\n"
        again.type("poweroff")
        again.expect_off()
    finally:
        again.close()


def test_a_probe_kernel_says_so_and_goes(tmp_path):
    kernel, initrd = tiny.build_probe_kernel()
    argv = [
        *("qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "128", "-nodefaults", "-no-user-config"),
        *("-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet"),
    ]
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert b"naos-probe-ok" in done.stdout
