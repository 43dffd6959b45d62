"""The dashboard: pages for people, served beside the API that they call."""
