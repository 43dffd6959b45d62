"""Any MQTT broker as a source: HookMQ is its client, and what it is sent becomes events."""
