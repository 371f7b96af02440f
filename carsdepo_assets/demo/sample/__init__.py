"""Renders the sample: photographs of cars with exact labels, traffic, and the files of an invented business."""
