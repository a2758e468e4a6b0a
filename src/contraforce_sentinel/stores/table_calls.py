"""Calls of Azure Tables: bounded in time, repeated while the service is busy, failing in our own words."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import stamina
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.data.tables.aio import TableClient

from contraforce_sentinel.azure.identity import MISREAD, Identity
from contraforce_sentinel.domain.errors import (
    OutOfReach,
    StoreUnavailable,
    UpstreamError,
    UpstreamUnavailable,
)
from contraforce_sentinel.stores.table_faults import code_of, may_not, unavailable
from contraforce_sentinel.transport.failures import is_lasting

_PASSING_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
# No operation on one link takes longer, its token, tries and slow answers included: with three of them and
# 20 s of upstreams, a delivery is answered within 90 s. Listings are the timer's, and have more to read.
_OPERATION_SECONDS: Final = 15.0
_LISTING_SECONDS: Final = 60.0
_SCOPE: Final = "https://storage.azure.com/.default"


class TableCalls:
    """Runs operations on one table, which is made with the first of them if it is missing.

    An identity whose role is on the table alone may not make it: then it has to be there.
    """

    def __init__(self, table: TableClient, *, identity: Identity | None = None) -> None:
        self._table = table
        self._identity = identity
        self._is_made = False
        self._may_make = True

    async def run[T](
        self, work: Callable[[], Awaitable[T]], *, is_listing: bool = False, makes_table: bool = True
    ) -> T:
        """Do one operation, again while the service is busy. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(_LISTING_SECONDS if is_listing else _OPERATION_SECONDS):
                async for attempt in stamina.retry_context(on=_may_pass, attempts=5, timeout=10, wait_max=2):
                    with attempt, _without_words():
                        if self._identity is not None:
                            await self._identity.get_token(_SCOPE)
                        if makes_table and not self._is_made:
                            await self._make()
                        return await work()
        except UpstreamError as error:
            told = f"the table link store cannot be used: {error}"
            raise StoreUnavailable(told, advice=error.advice) from error
        except (_Passing, AzureError, TimeoutError, *MISREAD) as error:
            self._is_made = False  # somebody may have removed the table
            raise unavailable(error, may_make=self._may_make) from error
        raise AssertionError("stamina ends with a result or an exception")

    async def change[T](self, work: Callable[[], Awaitable[T]]) -> T:
        """Do one change of entities as `run` does. Raises `Refused`, too."""

        async def attempt() -> T:
            try:
                return await work()
            except AzureError as error:
                if _is_refusal(error):
                    raise Refused from None
                raise

        return await self.run(attempt)

    async def _make(self) -> None:
        self._may_make = True
        try:
            with suppress(ResourceExistsError):
                await self._table.create_table()
        except HttpResponseError as error:
            if not may_not(error):
                raise
            self._may_make = False
        self._is_made = True


class Refused(Exception):
    """The entity is not as the change expects it: there already, gone, or changed."""


@contextmanager
def reading() -> Iterator[None]:
    """Turn what an entity of another shape raises into `StoreUnavailable`, without its content."""
    try:
        yield
    except MISREAD:
        raise StoreUnavailable("an entity of the table link store cannot be read by this version") from None


class _Passing(Exception):
    """The same operation may succeed in a moment. It is logged with every repeat."""


@contextmanager
def _without_words() -> Iterator[None]:
    """Tell what may pass by its type and status: the service's own words may quote the request."""
    try:
        yield
    except AzureError as error:
        if _is_passing(error):
            raise _Passing(f"{type(error).__name__} {getattr(error, 'status_code', None)}") from error
        raise


def _is_refusal(error: Exception) -> bool:
    """Whether a condition did not hold, by the service's own codes.

    https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes
    """
    return code_of(error) in {"EntityAlreadyExists", "UpdateConditionNotSatisfied", "ResourceNotFound"}


def _is_passing(error: Exception) -> bool:
    """Whether the same operation may succeed in a moment."""
    if isinstance(error, HttpResponseError):
        return error.status_code in _PASSING_STATUSES
    return isinstance(error, ServiceRequestError | ServiceResponseError) and not is_lasting(error)


def _may_pass(error: Exception) -> bool:
    """Whether to do an operation again."""
    return isinstance(error, _Passing | UpstreamUnavailable) and not isinstance(error, OutOfReach)
