"""The tests' own rule: no socket but loopback."""

import socket

import pytest
from pytest_socket import SocketConnectBlockedError


@pytest.mark.parametrize("address", ["192.0.2.1", "8.8.8.8"])
def test_a_socket_to_another_machine_is_blocked(address: str) -> None:
    with socket.socket() as outside, pytest.raises((SocketConnectBlockedError, UserWarning)):
        outside.connect((address, 443))
