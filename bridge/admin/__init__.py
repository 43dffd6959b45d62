"""The HTTP API, on the port of `http_server`. Nothing imports this room but `bridge.app`."""
