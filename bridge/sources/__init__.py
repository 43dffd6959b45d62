"""Other ways in than our own broker: what comes by them becomes events in the journal."""
