"""Faster R-CNN by torchvision, on EfficientNet-Lite or ResNet50: training, weights and prediction."""
