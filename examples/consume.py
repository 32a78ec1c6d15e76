"""Print AU12 (the smile) of every face that a live bus tells of: python consume.py [ADDRESS] [STREAM]."""

import sys

import msgpack
import zmq

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:8718"
topic = f"{sys.argv[2]}\0result".encode() if len(sys.argv) > 2 else b""

context = zmq.Context()
socket = context.socket(zmq.SUB)
socket.setsockopt(zmq.RCVHWM, 1000)  # messages that wait for us: beyond that the bus drops ours, nobody else's
socket.subscribe(topic)
socket.connect(address)

while True:
    _, payload = socket.recv_multipart()
    message = msgpack.unpackb(payload)
    if message["v"] == 1 and message["type"] == "result" and message["success"]:
        smile, age_s = message["au_r"]["AU12"], message["age_s"]
        print(message["stream"], message["seq"], message["face"], f"AU12 {smile:.2f}, {age_s:.3f} s old", flush=True)
