"""A receiver of webhooks that misbehaves as it is told: `python -m scripts.receiver --list`.

It needs nothing but Python 3.11, and the `openssl` command for the faults of TLS. The tests use the same
code.
"""
