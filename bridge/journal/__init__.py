"""The append-only log of events, the cursor of every lane, and the broker's state beside them."""
