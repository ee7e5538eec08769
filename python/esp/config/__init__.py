"""Settings: one frozen struct per section; defaults < YAML < environment.

In: a YAML file and the environment. Out: `Settings`, or `ConfigError` with everything that is wrong.
`sections` is the shape, `load` reads, `checks` refuses impossible combinations, `stores` derives where the
stores that ESP runs itself are, `reference` writes the example file, the reference page and `config show`."""

from esp.config.load import ConfigError, find_file, load
from esp.config.sections import Settings

__all__ = ["ConfigError", "Settings", "find_file", "load"]
