"""The command line `plait`: one file a command, over the working copy and the registry's client.

May import everything of the client. The only part that reads the environment, the clock and the
terminal, and that ends the process. A command's module is imported when that command is run.
"""
