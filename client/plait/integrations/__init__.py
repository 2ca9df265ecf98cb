"""Bridges to other libraries, one file each; what a bridge needs is imported only by that file.

May import everything of the client but the command line, and is imported by that alone.
"""
