"""From images as a publisher ships them to batches: sources, packs, splits."""
