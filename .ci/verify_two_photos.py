"""Two photos in, a probability out, with nothing but the wheel and no network."""

import socket
import sys

from PIL import Image

from skface import load_face_verifier


def main(hopper: str, collins: str) -> None:
    """Verify photos of two people."""
    print(f"The network is cut by {cut_network()}.")
    Image.open(hopper).rotate(10).point(lambda value: value // 2).save("darker.jpg")
    verifier = load_face_verifier()
    photos = [[hopper, "darker.jpg"], [hopper, collins]]
    same, different = verifier.predict_proba(photos)[:, 1]
    print(f"detector: {verifier[0].detector_name_}; probability of the same person:")
    print(f"{same:.4f} for a photo and a turned, darker copy, {different:.4f} for two people")
    if verifier[0].detector_name_ != "skface-detector":
        sys.exit("The detector was not the one in the wheel.")
    if not same > 0.9 > 0.5 > different:
        sys.exit("These are not the probabilities that they should be.")


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
