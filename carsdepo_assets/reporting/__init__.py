"""What every report shares: its page, the style of its charts, and how it is stored."""
