"""Alerts to people: what raises one, and the channels that carry it (log, webhook, apprise, SNS)."""
