"""YOLOv8 by ultralytics: training, weights and prediction."""
