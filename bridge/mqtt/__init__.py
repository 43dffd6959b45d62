"""The MQTT protocol without I/O: packets, codec, properties, topics, reason codes."""
