"""The world behind the ports of `plait_registry.domain.ports`, a file or a folder for each.

May import the domain, `plait.model` and `plait.errors`; never services or the API. Only
`plait_registry.bootstrap` (and tests) may import an adapter. Whatever a driver raises leaves here
as one of `plait.errors`, and no driver's row or object leaves at all.
"""
