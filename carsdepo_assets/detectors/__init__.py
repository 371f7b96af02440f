"""The detectors of damage, YOLOv8 and Faster R-CNN, behind one interface: training, exports, prediction."""
