"""The KPIs: of the business, of the model in production, and the summary of both."""
