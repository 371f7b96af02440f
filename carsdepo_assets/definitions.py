"""The one place that assembles the graph."""

import dagster as dg

from carsdepo_assets.alerts import sensors as alert_sensors
from carsdepo_assets.business import assets as business
from carsdepo_assets.business import sensors as business_sensors
from carsdepo_assets.data import assets as data
from carsdepo_assets.data import jobs as data_jobs
from carsdepo_assets.data import sensors as data_sensors
from carsdepo_assets.environments import resources
from carsdepo_assets.experiments import assets as experiments
from carsdepo_assets.experiments import jobs as experiment_jobs
from carsdepo_assets.experiments import queue_assets
from carsdepo_assets.inference import assets as inference
from carsdepo_assets.inference import sensors as inference_sensors
from carsdepo_assets.monitoring import assets as monitoring
from carsdepo_assets.monitoring import sensors as monitoring_sensors
from carsdepo_assets.orchestration import redacted_errors
from carsdepo_assets.release import assets as release
from carsdepo_assets.release import jobs as release_jobs
from carsdepo_assets.release import sensors as release_sensors
from carsdepo_assets.settings import Settings
from carsdepo_assets.training import assets as training
from carsdepo_assets.training import sensors as training_sensors

STEPS = (data, experiments, queue_assets, training, release, inference, monitoring, business)


@dg.definitions
def defs() -> dg.Definitions:
    redacted_errors.install()
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STEPS),
        jobs=[
            data_sensors.ingest_uploads_job,
            data_sensors.ingest_labels_job,
            data_jobs.dataset_job,
            data_jobs.extend_golden_job,
            experiment_jobs.cut_queue_job,
            training_sensors.train_job,
            release_jobs.release_job,
            release_jobs.promote_job,
            release_jobs.approve_model,
            release_jobs.reject_model,
            release_jobs.rollback_production,
            inference_sensors.ingest_inferences_job,
            monitoring_sensors.drift_job,
            monitoring_sensors.profile_job,
            monitoring_sensors.quality_job,
            business_sensors.business_job,
            business_sensors.kpi_job,
        ],
        sensors=[
            data_sensors.new_uploads,
            data_sensors.new_labels,
            training_sensors.retrain,
            training_sensors.settle_runs,
            release_sensors.release_candidate,
            release_sensors.ledger_projection,
            inference_sensors.new_inferences,
            monitoring_sensors.measure_drift,
            monitoring_sensors.drift_router,
            monitoring_sensors.measure_quality,
            business_sensors.new_business_files,
            alert_sensors.failed_runs,
            alert_sensors.release_news,
            alert_sensors.service_health,
            alert_sensors.waiting_runs,
        ],
        schedules=[business_sensors.kpis_every_morning],
        resources=resources(Settings.read()),
        # One process a run: an ingest run costs seconds, and training is a process of its own anyway.
        executor=dg.in_process_executor,
    )
