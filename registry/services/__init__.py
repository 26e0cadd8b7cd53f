"""What the registry does with its facts: functions of a session and types, giving types; no HTTP, no vectors."""
