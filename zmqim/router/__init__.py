"""Routers: who leads, who is online, and who gets what (docs/ARCHITECTURE.md section 4)."""
