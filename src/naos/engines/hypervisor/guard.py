"""A guest that is frozen is thawed by its blade, whatever becomes of who froze it.

The guard is a process of the blade. It waits beside a flag that holds its number; when the flag is still there at the end, it
asks the guest's agent to thaw, and a guest whose agent does not answer is told by its keyboard (see `freezing`). Thawing in time takes
the flag away, and so does a guard of a later freeze. A guest that nobody has seen write since is left with a note: how many requests to write
it had made by then.
"""

from collections.abc import Mapping, Sequence

from naos.engines.errors import GuestRefused
from naos.engines.ports import Host
from naos.ids import normal_id

FOLDER = "/run/libvirt"
KEYS = (56, 99, 36)
"""Left Alt, SysRq and J, as Linux numbers them: its kernel then thaws every file system by itself."""
HELD = 100  # milliseconds
_FLAG, _NOTE = "naos-frozen-", "naos-stuck-"
_NO_TOOL = 69
_PATIENCE = 30  # seconds that a guest is asked to thaw
_GUARD = f"""
flag=$1 domain=$2 left=$3 note=$5
echo $$ > "$flag"
mine() {{ [ "$(cat "$flag" 2> /dev/null)" = "$$" ]; }}
added() {{ sum=0; while read -r more; do sum=$((sum + more)); done; echo "$sum"; }}
written() {{ virsh -q domstats --block "$domain" 2> /dev/null | sed -n 's/.*\\.wr\\.reqs=//p' | added; }}
while [ "$left" -gt 0 ] && mine; do sleep 1; left=$((left - 1)); done
mine || exit 0
before=$(written) left=$4
until timeout 4 virsh -q qemu-agent-command "$domain" '{{"execute": "guest-fsfreeze-thaw"}}' --timeout 2; do
    case "$(virsh -q domstate "$domain")" in running | paused) ;; *) break ;; esac
    virsh -q send-key "$domain" --codeset linux --holdtime {HELD} {" ".join(map(str, KEYS))}
    sleep 1
    mine || exit 0
    [ "$(written)" = "$before" ] || break
    left=$((left - 1))
    if [ "$left" -le 0 ]; then echo "$before" > "$note"; break; fi
done
rm -f "$flag"
"""
_BEGIN = f'command -v virsh > /dev/null || exit {_NO_TOOL}; exec setsid -f sh -c "$@" < /dev/null > /dev/null 2>&1'
_NOTES = 'cd "$1" && for note in "$2"*; do [ -f "$note" ] && echo "$note $(cat "$note")"; done; true'


def begin(host: Host, domain_id: str, limit: int) -> None:
    """Raises GuestRefused on a blade that could not thaw the guest by itself."""
    words = ["guard", _flag(domain_id), domain_id, str(limit), str(_PATIENCE), _note(domain_id)]
    done = host.run(["sh", "-c", _BEGIN, "begin", _GUARD, *words], check=False)
    if done.code != 0:
        reason = "virsh is not installed there" if done.code == _NO_TOOL else done.stderr.strip()
        raise GuestRefused(
            host.name, "a freeze with a limit", f"the blade could not thaw the guest by itself: {reason}"
        )


def end(host: Host, domain_id: str) -> None:
    """The guest is thawed: nothing is to be done for it, and nothing to be said of it."""
    host.run(["rm", "-f", _flag(domain_id), _note(domain_id)])


def notes(host: Host) -> Mapping[str, int]:
    """The guests that did not write again, by id, with how many requests to write they had made."""
    found = {}
    for line in host.run(["sh", "-c", _NOTES, "notes", FOLDER, _NOTE], check=False).stdout.splitlines():
        name, _, written = line.partition(" ")
        domain_id = normal_id(name.removeprefix(_NOTE))
        if domain_id is not None and written.isdigit():
            found[domain_id] = int(written)
    return found


def put_note(host: Host, domain_id: str, written: int) -> None:
    host.run(["sh", "-c", 'echo "$2" > "$1"', "note", _note(domain_id), str(written)])


def forget(host: Host, domain_ids: Sequence[str]) -> None:
    """They write, or stand still no more."""
    if domain_ids:
        host.run(["rm", "-f", *map(_note, domain_ids)])


def watches(host: Host, domain_id: str) -> bool:
    """Whether a guard waits, or still asks the guest."""
    return host.run(["test", "-e", _flag(domain_id)], check=False).code == 0


def _flag(domain_id: str) -> str:
    return f"{FOLDER}/{_FLAG}{domain_id}"


def _note(domain_id: str) -> str:
    return f"{FOLDER}/{_NOTE}{domain_id}"
