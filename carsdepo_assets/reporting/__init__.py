"""What every report shares: the page, the style of its charts, pictures inside it."""
