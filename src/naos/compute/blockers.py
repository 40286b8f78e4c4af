"""What stands in the way of a move, as rows: which machine, which blade, which rule, and what would help. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from naos.compute.placement import AFFINITY, ANTI_AFFINITY, Candidate, Need, obstacles

HELP = {
    "connection": "bring the blade back",
    "closed": "end what closes the blade: its maintenance, or what it was lost for",
    "model": "power the machine off, move it, and power it on",
    "memory": "stop or shrink a machine there, or add a blade to the cpool",
    "vcpu-rate": "raise the vCPU rate of the cpool, or stop a machine there",
    "volume": "move the machine's disks to a volume of that zone in the same request",
    "vlan": "propagate the VLAN to the cpool",
    "processor": "start the machine anew: it is then shown what every blade of the cpool has",
    "gpu": "stop the machine, or another one that holds GPUs there",
    AFFINITY: "name all machines of the rule in one request, or disable the rule",
    ANTI_AFFINITY: "move the other machine away, or disable the rule",
    "room": "stop or shrink a machine, or add a blade to the cpool",
    "pinned": "wait until that has ended, or stop the machine",
}
"""By rule. A refusal of a request as a whole has its error's code for a rule, and says itself what would help."""


@dataclass(frozen=True)
class Blocker:
    """machine_id, machine: "" where it is about the blade alone; blade: "" where it is about every one."""

    machine_id: str
    machine: str
    blade: str
    rule: str
    reason: str
    help: str


def on_blade(machine_id: str, machine: str, candidate: Candidate, need: Need) -> Iterator[Blocker]:
    """Everything that keeps a machine off a blade."""
    for rule, reason in obstacles(candidate, need):
        yield Blocker(machine_id, machine, candidate.name, rule, reason, HELP[rule])
