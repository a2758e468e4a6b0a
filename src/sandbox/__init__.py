"""Stand-ins of the remote services on loopback: Resource Manager, identity, ContraForce, Azure Tables.

`async with Sandbox.start() as sandbox:` serves them; point a client at them with `sandbox.environment()`.
"""

from sandbox.comments import StoredComment
from sandbox.incidents import SandboxIncident, SandboxWorkspace
from sandbox.limits import SentinelLimits
from sandbox.planted import PLANTED_SECRET
from sandbox.requestlog import LoggedRequest, Operation
from sandbox.server import Sandbox
from sandbox.ticket_systems import TICKET_SYSTEMS
from sandbox.ticket_systems.model import Ticket

__all__ = [
    "PLANTED_SECRET",
    "TICKET_SYSTEMS",
    "LoggedRequest",
    "Operation",
    "Sandbox",
    "SandboxIncident",
    "SandboxWorkspace",
    "SentinelLimits",
    "StoredComment",
    "Ticket",
]
