"""A worker that reports through training.worker_events, whatever the channel. Started as a subprocess."""

from carsdepo_assets.training.worker_events import open_events

with open_events() as events:
    events.log("half way")
    events.report({"digest": "abc", "val_map50": 0.5, "history": [{"epoch": 1.0, "loss": 2.0}]}, "abc")
