"""ContraForce's API: the client, and one file for each ticket system."""
