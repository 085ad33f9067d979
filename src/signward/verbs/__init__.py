"""What Signward does: the only modules that join the stages."""
