"""What would a study take, before there is data? `outlook(paper())` prices it on machines that are named. Pure."""

from sweep.studies.outlook.longest_chain import Chain
from sweep.studies.outlook.machines import STANDARD, Machines, parse_machines
from sweep.studies.outlook.stages import (
    BUILT,
    MADE_UP,
    NOMINAL,
    UNKNOWN,
    Amount,
    Archive,
    OnMachines,
    Outlook,
    Stage,
    outlook,
)

__all__ = [
    "BUILT",
    "MADE_UP",
    "NOMINAL",
    "STANDARD",
    "UNKNOWN",
    "Amount",
    "Archive",
    "Chain",
    "Machines",
    "OnMachines",
    "Outlook",
    "Stage",
    "outlook",
    "parse_machines",
]
