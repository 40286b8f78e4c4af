"""The life of every object that an activity makes, as one table.

`creating` and `deleting` are transitional: an object is in them only while its activity is unfinished.
"""

from enum import StrEnum


class Lifecycle(StrEnum):
    CREATING = "creating"
    ACTIVE = "active"
    DELETING = "deleting"


TRANSITIONS: dict[Lifecycle, tuple[Lifecycle, ...]] = {
    Lifecycle.CREATING: (Lifecycle.ACTIVE,),
    Lifecycle.ACTIVE: (Lifecycle.DELETING,),
    Lifecycle.DELETING: (Lifecycle.ACTIVE,),
}
TRANSITIONAL = (Lifecycle.CREATING, Lifecycle.DELETING)
