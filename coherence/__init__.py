"""`auflow validate --budget`: what coherent tracking saves and costs on a clip, against OpenFace's own.

`runs` takes each clip through both, `verdict` compares what comes out and judges it, `sheet` shows it, `command` is the
command line.
"""
