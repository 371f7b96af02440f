"""Models behind one interface: YOLOv8 and Faster R-CNN."""
