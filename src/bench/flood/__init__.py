"""What twenty thousand deliveries and a hostile minute do to the app's process. Not deployed."""
