"""The two commands: `esp-server` and `esp-cli`."""
