"""auflow: video in, OpenFace 2.2's facial Action Units out, live and at scale."""

__version__ = "0.1.0"
