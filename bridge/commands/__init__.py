"""The commands that talk to the running process: what is going on, and what can be mended."""
