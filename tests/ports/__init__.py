"""One suite for each port; every adapter of the port passes it. `conftest` says which adapters there are."""
