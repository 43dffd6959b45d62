"""The MQTT broker: listeners, connections, sessions, subscriptions, retained messages, hooks."""
