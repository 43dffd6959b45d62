"""From a stored event to an answered HTTP request: lanes, connections, retries."""
