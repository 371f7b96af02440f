"""Who is told, and how: log, webhook, apprise."""
