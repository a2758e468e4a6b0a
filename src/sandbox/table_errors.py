"""Pure: the error codes of the Azure Table service, and how an error goes over the wire.

https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes
https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
"""

from collections.abc import Mapping
from typing import Final

from sandbox.service import Answer, RefusedError

VERSION: Final = "2019-02-02"
ERROR_TYPE: Final = "application/json;odata=minimalmetadata;streaming=true;charset=utf-8"
UNAUTHENTICATED: Final = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed"
    " correctly including the signature."
)
ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "AccountIsDisabled": (403, "The specified account is disabled."),
    "AuthenticationFailed": (403, UNAUTHENTICATED),
    "AuthorizationFailure": (403, "This request is not authorized to perform this operation."),
    "AuthorizationPermissionMismatch": (
        403,
        "This request is not authorized to perform this operation using this permission.",
    ),
    "CommandsInBatchActOnDifferentPartitions": (
        400,
        "All commands in a batch must operate on same entity group.",
    ),
    "EntityAlreadyExists": (409, "The specified entity already exists."),
    "EntityTooLarge": (400, "The entity is larger than the maximum allowed size (1MB)."),
    "InvalidAuthenticationInfo": (401, UNAUTHENTICATED),
    "InvalidDuplicateRow": (
        400,
        "A command with RowKey is already present in the batch. An entity can appear only once in a batch.",
    ),
    "InvalidInput": (400, "One of the request inputs is not valid."),
    "InvalidResourceName": (400, "The specifed resource name contains invalid characters."),
    "KeyBasedAuthenticationNotPermitted": (
        403,
        "Key based authentication is not permitted on this storage account.",
    ),
    "MissingRequiredHeader": (400, "An HTTP header that's mandatory for this request is not specified."),
    "NoAuthenticationInformation": (401, UNAUTHENTICATED),
    "OutOfRangeInput": (400, "One of the request inputs is out of range."),
    "PropertiesNeedValue": (400, "The values are not specified for all properties in the entity."),
    "PropertyNameTooLong": (400, "The property name exceeds the maximum allowed length (255)."),
    "PropertyValueTooLarge": (400, "The property value exceeds the maximum allowed size (64KB)."),
    "RequestBodyTooLarge": (
        413,
        "The request body is too large and exceeds the maximum permissible limit.",
    ),
    "ResourceNotFound": (404, "The specified resource does not exist."),
    "TableAlreadyExists": (409, "The table specified already exists."),
    "TableBeingDeleted": (409, "The specified table is being deleted."),
    "TableNotFound": (404, "The table specified does not exist."),
    "TooManyProperties": (400, "The entity contains more properties than allowed."),
    "UpdateConditionNotSatisfied": (
        412,
        "The update condition specified in the request was not satisfied.",
    ),
}


class TableError(RefusedError):
    """A request is refused with one of the service's codes; `message` is for who has a more exact one."""

    def __init__(
        self, code: str, message: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, standard = ERRORS[code]
        self.code = code
        self.message = message or standard
        told = {"x-ms-error-code": code, "x-ms-version": VERSION, **(headers or {})}
        super().__init__(Answer(self.status, error_body(code, self.message), told, ERROR_TYPE))


def error_body(code: str, message: str) -> dict[str, object]:
    """Return the JSON of an error."""
    return {"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}}
