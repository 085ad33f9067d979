"""Scripts of the project itself: pages, pictures, transcripts, locks."""
