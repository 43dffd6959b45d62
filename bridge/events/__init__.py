"""Events, who wants them, and how they look on the wire."""
