"""Multispool's protocol once more, written from its description and sharing no code with src/spool: the other program on a spool.

Usage: other.py produce|consume JSON, with the jobs of test/spool/work.ts; it does what test/spool/worker.ts does, and logs the same.
Needs nothing but Python 3 and inotify.
"""

import ctypes
import json
import os
import random
import select
import signal
import string
import sys
import time

IN_MODIFIED = 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x800  # CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, MOVE_SELF
CHECKOUT = ".checkout"


def touch(path):
    now = time.time_ns() // 1000 * 1000
    os.utime(path, ns=(now, now))


def save_atomically(path, prefix, content, synced):
    """Whole or not at all: a temporary file named after `prefix`, renamed to `path`."""
    try:
        mode = os.stat(path).st_mode & 0o7777
    except FileNotFoundError:
        mode = None
    directory, base = os.path.split(prefix)
    for letter in "/' \0\n-":
        base = base.replace(letter, "_")
    while True:
        chosen = "".join(random.choices(string.ascii_letters + string.digits, k=6))
        temporary = os.path.join(directory, f"{base}.tmp.{chosen}")
        try:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            break
        except FileExistsError:
            pass
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        os.write(fd, content)
        if synced:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)


class Spool:
    def __init__(self, top):
        self.top = top

    def path(self, *parts):
        return os.path.join(self.top, *parts)

    def reserve(self, generate):
        attempt = 0
        while True:
            name = generate(attempt)
            try:
                fd = os.open(self.path(".registry", name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                attempt += 1
                continue
            os.fstat(fd)
            os.close(fd)
            return name

    def enqueue(self, queue, metadata, data, generate):
        name = self.reserve(generate)
        waiting = self.path(".tmp", name)
        save_atomically(waiting, waiting, metadata.encode(), True)
        save_atomically(self.path(".data", name), self.path(".data", name), data, False)
        os.rename(waiting, self.path(queue, name))
        return name

    def names(self, queue):
        listed = sorted(os.listdir(os.fsencode(self.path(queue))))
        return [os.fsdecode(name) for name in listed if name != CHECKOUT.encode()]

    def checkout(self, queue, name):
        """The entry, or None where another process was faster."""
        held = self.path(queue, CHECKOUT, name)
        try:
            touch(self.path(".registry", name))
            touch(self.path(queue, name))
            os.rename(self.path(queue, name), held)
        except FileNotFoundError:
            return None
        with open(held, "rb") as file:
            return CheckedOut(self, queue, name, file.read().decode())


class CheckedOut:
    def __init__(self, spool, queue, name, metadata):
        self.spool, self.queue, self.name, self.metadata = spool, queue, name, metadata
        self.held = spool.path(queue, CHECKOUT, name)

    def data(self):
        with open(self.spool.path(".data", self.name), "rb") as file:
            return file.read()

    def save(self, queue):
        save_atomically(self.held, self.spool.path(".tmp", self.name), self.metadata.encode(), True)
        touch(self.spool.path(".registry", self.name))
        touch(self.held)
        os.rename(self.held, self.spool.path(queue, self.name))

    def remove(self):
        touch(self.spool.path(".registry", self.name))
        os.unlink(self.spool.path(".data", self.name))
        os.unlink(self.held)
        os.unlink(self.spool.path(".registry", self.name))


class Watch:
    """Wakes up when something happens in a queue; never by itself."""

    def __init__(self, spool, queue):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for directory in (spool.path(queue), spool.path(queue, CHECKOUT)):
            if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(directory), ctypes.c_uint32(IN_MODIFIED)) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)

    def drain(self):
        try:
            while os.read(self.fd, 65536):
                pass
        except BlockingIOError:
            pass


class Stop:
    """SIGTERM, as a descriptor that becomes readable."""

    def __init__(self):
        self.reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.asked = False
        signal.set_wakeup_fd(writes)
        signal.signal(signal.SIGTERM, self.ask)

    def ask(self, _number, _frame):
        self.asked = True


def dequeued(spool, queue, stop):
    """Entries as they come, until it is stopped. Events are forgotten before the queue is listed: none is missed."""
    watch = Watch(spool, queue)
    while not stop.asked:
        watch.drain()
        names = spool.names(queue)
        if not names and not stop.asked:
            select.select([watch.fd, stop.reads], [], [])
        for name in names:
            if stop.asked:
                return
            entry = spool.checkout(queue, name)
            if entry is not None:
                yield entry


def metadata_of(name, queue):
    return f"{name} → {queue}"


def data_of(name):
    return f"{name}\n".encode() * (1 + sum(name.encode()) % 40)


def produce(job):
    spool = Spool(job["spool"])
    for i in range(job["count"]):
        def generate(attempt, i=i):
            return f"{job['id']}-{i:06}" + (f"-{attempt}" if attempt else "")

        name = generate(0)
        spool.enqueue(job["queue"], metadata_of(name, job["queue"]), data_of(name), generate)


def consume(job):
    spool = Spool(job["spool"])
    stop = Stop()
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    print("ready", flush=True)
    for entry in dequeued(spool, job["queue"], stop):
        name = entry.name
        lock = os.path.join(job["locks"], name)
        os.symlink(job["id"], lock)
        os.write(log, f"begin {name}\n".encode())
        if entry.metadata != metadata_of(name, job["queue"]):
            raise ValueError(f"{name}: metadata {entry.metadata!r}")
        if entry.data() != data_of(name):
            raise ValueError(f"{name}: other data")
        if job["to"] is None:
            entry.remove()
        else:
            entry.metadata = metadata_of(name, job["to"])
            entry.save(job["to"])
        os.unlink(lock)
        os.write(log, f"done {name}\n".encode())


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](json.loads(sys.argv[2]))
