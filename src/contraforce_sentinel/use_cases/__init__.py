"""What the app does: links an incident, and finishes what was begun."""
