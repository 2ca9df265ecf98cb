"""The HTTP edge: thin routes over the services, and the gateway that streams objects.

May import everything but adapters; only `plait_registry.serve` may import it. Routes are plain
functions that parse, call one service and return. The asynchronous code is what streams bodies,
answers machines and starts the server: see docs/decisions/0013.
"""
