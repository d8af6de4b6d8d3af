"""Chimera: an unattended trading system. ARCHITECTURE.md says which room holds what."""

__version__ = "0.1.0"
