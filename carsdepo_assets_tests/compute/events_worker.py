"""A worker that reports through compute.worker.events, whatever the channel. Started as a subprocess."""

from carsdepo_assets.compute.worker.events import open_events

with open_events() as events:
    events.log("half way")
    events.report({"digest": "abc", "val_map50": 0.5, "history": [{"epoch": 1.0, "loss": 2.0}]}, "abc")
