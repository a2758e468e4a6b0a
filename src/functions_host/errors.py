"""The errors of the local host.

HostError               what a developer has to fix before the host can run; the text says what
├── SettingsError       local.settings.json or host.json cannot be used
├── IndexingError       the worker refused the function app
├── ScheduleError       a timer's schedule is missing, malformed or never comes due
├── RouteError          a route template cannot be served
└── PortError           the port cannot be listened on
InvocationFailed        one call of one function raised; the host carries on
"""


class HostError(Exception):
    """The host cannot start; the message is for the developer."""


class SettingsError(HostError):
    """A settings file cannot be used."""


class IndexingError(HostError):
    """The worker refused the function app; carries the worker's own message and stack trace."""

    def __init__(self, message: str, *, stack_trace: str = "") -> None:
        super().__init__(message)
        self.stack_trace = stack_trace


class ScheduleError(HostError):
    """A timer's schedule cannot be followed."""


class RouteError(HostError):
    """A route template cannot be served."""


class PortError(HostError):
    """The port cannot be listened on."""


class InvocationFailed(Exception):
    """A function raised; carries the worker's message ("ValueError: …") and stack trace."""

    def __init__(self, *, function_name: str, invocation_id: str, message: str, stack_trace: str) -> None:
        super().__init__(f"{function_name} failed: {message}")
        self.function_name = function_name
        self.invocation_id = invocation_id
        self.message = message
        self.stack_trace = stack_trace
