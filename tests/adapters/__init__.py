"""What one adapter promises beyond its port."""
