"""HookMQ: an MQTT broker that pushes."""

__version__ = "0.1.0"
