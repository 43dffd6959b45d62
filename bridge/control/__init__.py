"""The running process as its operator sees it: a Unix socket in the store's folder, and what it answers."""
