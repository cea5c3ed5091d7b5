"""What torchvision's models, trained on ImageNet, expect of pixels."""

PIXEL_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)  # red, green, blue
PIXEL_SCALE = (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225))
"""With ``Network.set_normalization(PIXEL_MEAN, PIXEL_SCALE)`` pixels of 0 to 255 come in as torchvision's own."""
