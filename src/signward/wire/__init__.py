"""Bounded readers and writers of bytes that several formats share."""
