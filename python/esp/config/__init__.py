"""Settings: one frozen struct per section; defaults < YAML < environment."""
