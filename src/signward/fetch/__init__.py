"""The only sockets a verification may open."""
