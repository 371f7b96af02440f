"""Jobs of the business step, and the schedule that computes the KPIs anew every morning."""

import dagster as dg

BUSINESS_JOB = "business"
business_job = dg.define_asset_job(
    BUSINESS_JOB,
    selection=["inspections", "transactions", "disputes", "kpi_report"],
    description="Reads new business files into their tables, then computes the KPIs.",
)
kpi_job = dg.define_asset_job("kpis", selection=["kpi_report"], description="Computes the KPIs of this moment.")
kpis_every_morning = dg.ScheduleDefinition(
    name="kpis_every_morning",
    job=kpi_job,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Computes the KPIs every morning: answers, labels and drift change them without any business file.",
)
