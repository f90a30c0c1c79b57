"""Structured logs and metrics of every process."""
