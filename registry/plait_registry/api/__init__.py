"""The HTTP edge: thin routes over the services, and the gateway that streams objects.

May import everything but adapters; only `plait_registry.cli` may import it. Routes are plain
functions that parse, call one service and return. The asynchronous code is `edge.py`,
`object_gateway.py` and the start in `serving.py`: see docs/decisions/0013.
"""
