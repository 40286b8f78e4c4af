"""A guest that is frozen is thawed by its blade, whatever becomes of who froze it.

The guard is a process of the blade. It waits beside a flag that holds its number; when the flag is still there at the end, it
asks the guest's agent to thaw. Thawing in time takes the flag away, and so does a guard of a later freeze.
"""

from naos.engines.errors import GuestRefused
from naos.engines.ports import Host

FOLDER = "/run/libvirt"
_NO_TOOL = 69
_PATIENCE = 30  # seconds that a guest is asked to thaw
_GUARD = """
echo $$ > "$1"
mine() { [ "$(cat "$1" 2> /dev/null)" = "$$" ]; }
left=$3
while [ "$left" -gt 0 ] && mine "$1"; do sleep 1; left=$((left - 1)); done
mine "$1" || exit 0
left=$4
until virsh -q qemu-agent-command "$2" '{"execute": "guest-fsfreeze-thaw"}' --timeout 5 || [ "$left" -le 0 ]; do
    sleep 1; left=$((left - 1))
done
rm -f "$1"
"""
_BEGIN = f'command -v virsh > /dev/null || exit {_NO_TOOL}; exec setsid -f sh -c "$@" < /dev/null > /dev/null 2>&1'


def begin(host: Host, domain_id: str, limit: int) -> None:
    """Raises GuestRefused on a blade that could not thaw the guest by itself."""
    words = ["guard", _flag(domain_id), domain_id, str(limit), str(_PATIENCE)]
    done = host.run(["sh", "-c", _BEGIN, "begin", _GUARD, *words], check=False)
    if done.code != 0:
        reason = "virsh is not installed there" if done.code == _NO_TOOL else done.stderr.strip()
        raise GuestRefused(
            host.name, "a freeze with a limit", f"the blade could not thaw the guest by itself: {reason}"
        )


def end(host: Host, domain_id: str) -> None:
    host.run(["rm", "-f", _flag(domain_id)])


def _flag(domain_id: str) -> str:
    return f"{FOLDER}/naos-frozen-{domain_id}"
