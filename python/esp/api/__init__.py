"""The HTTP door: health, metrics, and the REST API.

In: HTTP requests. Out: JSON, and Prometheus' text on `/metrics`. `health` answers whether ESP serves, `metrics`
adds up the numbers of all processes, `server` runs the application in this process' event loop."""
