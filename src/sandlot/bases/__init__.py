"""Content-addressed, immutable file trees, and how they are seeded, merged, viewed and copied."""
