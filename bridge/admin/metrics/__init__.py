"""`GET /metrics`: what is shown (`families`), where it comes from (`endpoints`, `process`), how it is written
(`exposition`)."""
