"""``make demo``: a real server, real speech, who is who, one clip live, and the line to try next."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from platformdirs import user_data_path
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from auricle import Client
from auricle.client import Detector, Pcm, SegmentResult
from auricle.errors import AuricleError
from auricle.model.pull import pull

CLIPS = Path(__file__).parent / "clips"
COUNTING = CLIPS / "digits" / "two-three-seven.flac"
NAMES = ("ally", "jo", "max", "rob")
START_LIMIT_S = 60.0

console = Console()


def fetch_voice(models_dir: Path) -> bool:
    """Pulls the speaker model once; False, with a word why, where it cannot be had."""
    columns = (TextColumn("pulling the model [bold]voice[/]: {task.description}"), BarColumn())
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=None)
            pull(
                "voice",
                models_dir,
                progress=lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total),
            )
    except AuricleError as error:
        console.print(f"[yellow]The model `voice` cannot be had here:[/] {error}")
        console.print("The demo goes on with what comes inside the package.\n")
        return False
    return True


@contextmanager
def running_server(models_dir: Path) -> Iterator[str]:
    """``auricle serve`` on a free port, stopped with SIGTERM at the end; gives HOST:PORT."""
    with tempfile.TemporaryDirectory() as scratch:
        port_file, log = Path(scratch) / "port", Path(scratch) / "log"
        command = [sys.executable, "-m", "auricle.cli", "serve", "--models", str(models_dir)]
        with log.open("wb") as sink:
            server = subprocess.Popen(
                [*command, "--listen", "127.0.0.1:0", "--port-file", str(port_file)], stderr=sink, stdout=sink
            )
        try:
            give_up = time.monotonic() + START_LIMIT_S
            while not port_file.exists():
                if server.poll() is not None or time.monotonic() > give_up:
                    raise SystemExit(f"the server did not start:\n{log.read_text()}")
                time.sleep(0.05)
            yield f"127.0.0.1:{port_file.read_text().strip()}"
        finally:
            server.terminate()
            server.wait(timeout=START_LIMIT_S)


def show_matrix(vectors: dict[str, np.ndarray]) -> None:
    """Prints the cosine of every pair."""
    table = Table(title="cosine similarity (the vectors have length 1)")
    table.add_column("")
    for name in vectors:
        table.add_column(name, justify="right")
    for row, first in vectors.items():
        cells = []
        for column, second in vectors.items():
            cosine = float(first @ second)
            same = row[:-2] == column[:-2]
            cells.append(f"[bold green]{cosine:.2f}[/]" if same else f"[dim]{cosine:.2f}[/]")
        table.add_row(row, *cells)
    console.print(table)


def show_speakers(vectors: dict[str, np.ndarray]) -> int:
    """Names the speaker of each second clip by the nearest first clip; gives how many are right."""
    right = 0
    for name in NAMES:
        scores = {other: float(vectors[f"{name}-2"] @ vectors[f"{other}-1"]) for other in NAMES}
        best = max(scores, key=scores.__getitem__)
        right += best == name
        mark = "[green]right[/]" if best == name else "[red]wrong[/]"
        console.print(f"  {name}-2.flac sounds like [bold]{best}[/] ({scores[best]:.2f}): {mark}")
    return right


def microphone(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """A file's samples in pieces of 100 ms, each when a microphone would have it."""
    begun, played = time.monotonic(), 0
    for chunk in sound.blocks(sound.samplerate // 10, dtype="int16"):
        played += len(chunk)
        time.sleep(max(0.0, begun + played / sound.samplerate - time.monotonic()))
        yield chunk


def show_stream(client: Client, clip: Path, enrolled: dict[str, np.ndarray]) -> None:
    """Streams one clip as a microphone would send it, and says who speaks after each segment."""
    console.print(f"\nStreaming {clip.name} live: the voice gets surer as it speaks")
    with soundfile.SoundFile(clip) as sound:
        events = client.stream_embed(microphone(sound), sample_rate_hz=sound.samplerate, model="voice", pooling="mean")
        for event in events:
            if isinstance(event, SegmentResult):
                embedding = event.embeddings[0]
                scores = {name: float(embedding.vector @ vector) for name, vector in enrolled.items()}
                best = max(scores, key=scores.__getitem__)
                console.print(f"  up to {embedding.end_s:4.1f} s: {best} ({scores[best]:.2f})")


def show_digits(client: Client) -> None:
    """Classifies one spoken digit, then streams three with the model that comes inside the package."""
    sound, rate_hz = soundfile.read(COUNTING, dtype="int16")
    first = sound[int(0.7 * rate_hz) : int(1.65 * rate_hz)]
    best = client.classify(Pcm(first, rate_hz), model="digits").categories[0]
    console.print(
        f"\nThe bundled [bold]digits[/] hears a robot count; its first word: [bold]{best.label}[/] ({best.score:.2f})"
    )
    console.print(f"Streaming {COUNTING.name} live, a segment each quarter of a second:")
    detector = Detector()
    with soundfile.SoundFile(COUNTING) as clip:
        events = client.stream_classify(microphone(clip), sample_rate_hz=rate_hz, model="digits", hop_s=0.25)
        for event in events:
            if found := detector.take(event):
                console.print(f"  up to {found.end_s:4.1f} s: [bold]{found.label}[/] ({found.score:.2f})")


def show_voices(client: Client) -> bool:
    """Tells the voices apart, whole and live; whether every clip found its speaker."""
    vectors = {path.stem: client.embed(path, model="voice").vector for path in sorted(CLIPS.glob("*.flac"))}
    show_matrix(vectors)
    right = show_speakers(vectors)
    show_stream(client, CLIPS / "rob-2.flac", {name: vectors[f"{name}-1"] for name in NAMES})
    console.print(f"\n{right} of {len(NAMES)} clips found their speaker.")
    return right == len(NAMES)


def show_next(method: str) -> None:
    """Prints the line that asks a server for the same with grpcurl."""
    console.print("\nNext: [bold]make serve[/], and in another terminal, with no proto file:", highlight=False)
    console.print(
        '  (printf \'{"audio":{"content":"\'; base64 -w0 examples/clips/max-1.flac; printf \'"}}\') |\n'
        f"    grpcurl -plaintext -d @ 127.0.0.1:50051 auricle.v1.AudioService/{method}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def main() -> int:
    """Runs the demo, with what comes in the package alone where `voice` cannot be had; 0 where all was right."""
    begun = time.monotonic()
    models_dir = Path(os.environ.get("AURICLE_MODELS") or user_data_path("auricle") / "models")
    models_dir.mkdir(parents=True, exist_ok=True)
    has_voice = fetch_voice(models_dir)
    with running_server(models_dir) as address, Client(address) as client:
        console.print(f"auricle serves on {address}" + ("; four voices say two sentences each\n" if has_voice else ""))
        right = show_voices(client) if has_voice else True
        show_digits(client)
    show_next("Embed" if has_voice else "Classify")
    console.print(f"Done in {time.monotonic() - begun:.1f} s.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
