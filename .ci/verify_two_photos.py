"""Two photos in, a probability out, with nothing but the wheel and no network."""

import socket
import sys

import numpy as np
from PIL import Image

from skface import make_face_verifier


def main(hopper: str, collins: str) -> None:
    """Learn from photos of two people, then verify."""
    print(f"The network is cut by {cut_network()}.")

    def views(path):
        photo = Image.open(path)
        return photo.rotate(5), photo.rotate(-8), photo.resize((180, 180))

    (h1, h2, h3), (c1, c2, c3) = views(hopper), views(collins)
    pairs = np.empty((6, 2), dtype=object)
    for row, pair in enumerate([(h1, h2), (h2, h3), (c1, c2), (h1, c1), (h2, c2), (h3, c3)]):
        pairs[row, 0], pairs[row, 1] = pair
    verifier = make_face_verifier().fit(pairs, [1, 1, 1, 0, 0, 0])

    darker = Image.open(hopper).point(lambda value: value // 2)
    darker.save("darker.jpg")
    photos = np.array([[hopper, "darker.jpg"], [hopper, collins]], dtype=object)
    same, different = verifier.predict_proba(photos)[:, 1]
    print(f"detector: {verifier[0].detector_name_}; probability of the same person:")
    print(f"{same:.3f} for a photo and a darker copy, {different:.3f} for two people")
    if verifier[0].detector_name_ != "skface-detector":
        sys.exit("The detector was not the one in the wheel.")
    if not same > 0.5 > different:
        sys.exit("These probabilities are the wrong way round.")


def cut_network() -> str:
    """Make sure that there is no network, and say how."""
    if [name for _, name in socket.if_nameindex()] == ["lo"]:
        return "the system: this process has no interface but the loopback"

    def refuse(*args, **kwargs):
        raise OSError("There is no network here.")

    socket.socket.connect = socket.getaddrinfo = refuse
    return "Python: every socket refuses to connect"


if __name__ == "__main__":
    main(*sys.argv[1:])
