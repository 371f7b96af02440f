"""Faster R-CNN by torchvision on an EfficientNet-Lite backbone: training, weights and prediction."""
