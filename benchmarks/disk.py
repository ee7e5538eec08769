"""What the disk can do: the limit of every server that keeps its word."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def durable_files(folder: Path, threads: int, seconds: float = 1.0) -> float:
    """Return how many 4 KiB files a second are written, synced, renamed, and their folder synced."""
    content = os.urandom(4096)

    def work(number: int) -> int:
        home = folder / f"probe-{threads}-{number}"
        home.mkdir()
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        until = time.perf_counter() + seconds
        done = 0
        while time.perf_counter() < until:
            file = os.open(home / "new", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(file, content)
            os.fsync(file)
            os.close(file)
            (home / "new").rename(home / str(done))
            os.fsync(descriptor)
            done += 1
        os.close(descriptor)
        return done

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / seconds
