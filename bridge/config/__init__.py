"""A configuration file in, one typed settings tree out, with every message at its line."""
