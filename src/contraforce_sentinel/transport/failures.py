"""Why no answer came, in words that hold nothing of an answer, a library or a secret."""

import ssl
from collections.abc import Iterator
from typing import TypeGuard

from contraforce_sentinel.domain.errors import OutOfReach, Upstream, UpstreamUnavailable


class NetworkRefused(Exception):
    """A variable of the environment that connections need cannot be used; its value is not told."""

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        self.problem = problem
        super().__init__(f"{variable} {problem}")


def is_lasting(error: BaseException) -> bool:
    """Whether the next request will fail the same way, until somebody changes something."""
    return isinstance(_cause(error), NetworkRefused | ssl.SSLCertVerificationError)


def why(error: BaseException) -> str:
    """Name the variable that cannot be used, or the reason of a refusal by TLS, or else the error's type."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or type(cause).__name__}"
    return type(error).__name__ if cause is None else str(cause)


def remedy(error: BaseException) -> str | None:
    """Say what a person has to do; None where there is nothing but waiting."""
    match _cause(error):
        case NetworkRefused(variable=variable):
            return f"set {variable} right, or take it out of the environment"
        case ssl.SSLCertVerificationError():
            return "let SSL_CERT_FILE name a file of certificates to trust: the one shown there is another's"
        case ssl.SSLError():
            return "look at what answers there: it does not speak TLS as the service does"
        case _:
            return None


def no_answer(
    error: BaseException, *, upstream: Upstream, ambiguous: bool, told: str = "no answer"
) -> UpstreamUnavailable:
    """Return what the caller of an upstream is told."""
    kind = OutOfReach if is_lasting(error) else UpstreamUnavailable
    return kind(f"{told} ({why(error)})", upstream=upstream, ambiguous=ambiguous, advice=remedy(error))


def _cause(error: BaseException) -> NetworkRefused | ssl.SSLError | None:
    return next((one for one in _chain(error) if isinstance(one, NetworkRefused) or _is_refusal(one)), None)


def _is_refusal(error: BaseException) -> TypeGuard[ssl.SSLError]:
    """Whether TLS was refused; a connection that is cut ends in an error of TLS, too."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
