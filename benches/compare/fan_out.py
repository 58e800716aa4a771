"""Pub/Sub beside a load: as many messages a second, each heard by several subscribers, all through one port."""

import selectors
import socket
import threading

from bed import HOST, Connection, spell

CHANNELS, SUBSCRIBERS = 10, 100
MESSAGES_PER_S, BURSTS_PER_S = 1_000, 50


class FanOut:
    """`with FanOut(port):` publishes and hears until the end of the block, and fails if nothing was heard."""

    def __init__(self, port: int):
        self.ended = threading.Event()
        self.heard_bytes = 0
        self.publisher = Connection(port)
        self.subscribers = [socket.create_connection((HOST, port)) for _ in range(SUBSCRIBERS)]
        for n, subscriber in enumerate(self.subscribers):
            subscriber.sendall(spell(("SUBSCRIBE", f"channel:{n % CHANNELS}")))
        self.threads = [threading.Thread(target=self.publish), threading.Thread(target=self.hear)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        for connection in (self.publisher, *self.subscribers):
            connection.close()
        if kind is None and self.heard_bytes == 0:
            raise OSError("no message was heard")

    def publish(self):
        burst = MESSAGES_PER_S // BURSTS_PER_S
        words = b"".join(spell(("PUBLISH", f"channel:{n % CHANNELS}", "x" * 64)) for n in range(burst))
        while not self.ended.wait(1 / BURSTS_PER_S):
            self.publisher.socket.sendall(words)
            for _ in range(burst):
                self.publisher.reply()

    def hear(self):
        with selectors.DefaultSelector() as selector:
            for subscriber in self.subscribers:
                selector.register(subscriber, selectors.EVENT_READ)
            while not self.ended.is_set():
                for key, _ in selector.select(0.1):
                    self.heard_bytes += len(key.fileobj.recv(65536))
