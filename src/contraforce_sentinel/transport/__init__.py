"""Requests over HTTP: connections, retries, deadlines."""
