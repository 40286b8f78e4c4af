"""Durable activities: every write of naos is one. Areas build a `Plan`, register workflows and compensations, and submit."""

from naos.activity.engine import Engine
from naos.activity.plan import Caller, Item, Lock, Plan, Undo
from naos.activity.registry import undo, workflow
from naos.activity.run import Run

__all__ = ["Caller", "Engine", "Item", "Lock", "Plan", "Run", "Undo", "undo", "workflow"]
