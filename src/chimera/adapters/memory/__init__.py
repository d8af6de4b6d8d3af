"""The bus, the fast state and the objects of a world that is one process."""
