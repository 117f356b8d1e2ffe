"""System checks for combinations of settings that cannot work."""
