"""The ContraForce ticket link for Microsoft Sentinel."""

from typing import Final

VERSION: Final = "0.1.0"
