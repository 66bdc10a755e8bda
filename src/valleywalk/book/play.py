"""The images on which the page "Play a walk" trains its network."""

from sklearn.datasets import load_digits

from .explorer import script

IMAGES = 300
PIXELS = "0123456789abcdefg"  # from 0 to 16


def data() -> str:
    """HTML that holds 8×8 digits: a digit of base 17 a pixel, a text an image, and the labels.

    They come with scikit-learn, which has them from the UCI repository.
    """
    digits = load_digits()
    images = ["".join(PIXELS[int(pixel)] for pixel in image) for image in digits.data[:IMAGES]]
    return script("play-data", {"images": images, "labels": digits.target[:IMAGES].tolist()})
