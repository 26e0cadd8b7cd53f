"""Re-embedding what a gallery holds by a newer version: planned in an order that pays, run in batches, and taken back."""
