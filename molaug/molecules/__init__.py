"""Molecules: how a group element acts on them, their data, networks and tasks."""
