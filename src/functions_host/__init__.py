"""A small local Azure Functions host around the worker library that Azure itself runs.

The .NET host (``func``) is a separate download that is often out of reach; the Python side of Azure
Functions is a wheel. This package plays the host's part to that wheel, for tests (in process), for running
the app locally and for the demo (over HTTP). It is not deployed.
"""
