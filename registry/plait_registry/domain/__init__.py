"""The registry's pure rules and the ports that it needs from the world.

May import `plait.model`, `plait.algebra` and `plait.errors`; may be imported by services, adapters
and everything above them. No I/O, clock, environment or random state.
"""
