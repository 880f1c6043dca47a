"""Files that are copied into a peer's project folder and imported there, never by this package.

``body`` needs the standard library alone; each other file may import its own peer.
"""
