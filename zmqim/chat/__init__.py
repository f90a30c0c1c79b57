"""The domain: channels, members, messages, users, permissions. Pure and deterministic."""
