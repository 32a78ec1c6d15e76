"""How a frame travels: pixels in a ring of shared memory, everything else as small typed messages over ZeroMQ."""
