"""The ASGI app: /metrics, /healthz, /readyz and the page."""
