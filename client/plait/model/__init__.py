"""The pure core that client and registry share: identities, formats and the rules about them.

Everything here takes values and bytes and returns values or raises; nothing opens, sleeps, logs,
or reads a clock, the environment or random state. May be imported by every other layer; imports
only `plait.errors`.
"""
