"""Wiring (the only constructor of things), roles, the supervisor, the embedded stores."""
