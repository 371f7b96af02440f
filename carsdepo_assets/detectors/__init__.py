"""The detectors of damage (YOLOv8, Faster R-CNN, D-FINE) behind one interface: training, exports, prediction."""
