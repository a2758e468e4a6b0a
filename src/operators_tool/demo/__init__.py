"""The demo: incidents get their tickets, against stand-ins of the remote services."""
