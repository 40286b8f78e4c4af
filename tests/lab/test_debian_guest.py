"""Debian 12 as a guest: built from Debian's packages, booted, and set up by cloud-init from a seed. Takes minutes."""

import subprocess

import pytest
from guest_rig import ADDRESS, MAC, Guest, cdrom, disk

from naos.catalogue.images import debian
from naos.catalogue.images.seed import write_seed

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(1800)]
USER_DATA = """#cloud-config
runcmd:
  - [sh, -c, "echo the first commands ran > /dev/ttyS0"]
"""
GIB = 1024**3


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("debian")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a tester", "-f", folder / "id"], check=True)
    image = debian.build_debian(folder / "debian.qcow2")
    boot_disk = folder / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.path, boot_disk, "5G"], check=True
    )
    write_seed(
        folder / "seed.iso",
        instance_id="first",
        hostname="bookworm-one",
        ssh_keys=[(folder / "id.pub").read_text()],
        addresses=[{"mac": MAC, "address": f"{ADDRESS}/24", "gateway": "10.0.2.2"}],
        user_data=USER_DATA,
        password="pass word",
    )
    running = Guest(folder, [*disk(boot_disk), *cdrom(folder / "seed.iso")], memory="768", deadline=600)
    yield running
    running.close()


def test_cloud_init_sets_the_guest_up_from_the_seed(guest):
    guest.expect("bookworm-one login:|the first commands ran")
    guest.expect("bookworm-one login:|the first commands ran")
    entered = guest.ssh(
        guest.folder / "id", "hostname; ip -br address; ip route; cloud-init status --wait", user="debian"
    )
    assert entered.stdout.startswith("bookworm-one\n")
    assert f"{ADDRESS}/24" in entered.stdout
    assert "default via 10.0.2.2" in entered.stdout
    assert "status: done" in entered.stdout


def test_its_root_fills_its_disk(guest):
    size = guest.ssh(guest.folder / "id", "df --output=size -B1 / | tail -n 1", user="debian")
    assert int(size.stdout) > 4.5 * GIB


def test_the_password_opens_the_serial_console(guest):
    guest.log_in("debian", "pass word")
    assert guest.type("sudo id -un").strip().endswith("root")


def test_its_own_update_grub_writes_a_menu_that_boots_what_runs(guest):
    done = guest.ssh(guest.folder / "id", "sudo update-grub && grep -c ttyS0 /boot/grub/grub.cfg", user="debian")
    assert done.returncode == 0
    assert int(done.stdout) >= 1


def test_the_agent_answers_freezes_and_thaws(guest):
    with guest.agent() as ask:
        assert ask("guest-get-host-name")["host-name"] == "bookworm-one"
        assert ask("guest-fsfreeze-freeze") >= 1
        assert ask("guest-fsfreeze-thaw") >= 1


def test_the_power_button_shuts_it_down(guest):
    guest.qmp("system_powerdown")
    guest.expect_off()
