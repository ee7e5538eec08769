"""The HTTP door: health, metrics, and the REST API."""
