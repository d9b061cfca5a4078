"""Talk to Sprint processes; nothing is imported here."""
