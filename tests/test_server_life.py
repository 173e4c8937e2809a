"""The server's life: health, reflection, models that come and go, and SIGTERM under load."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from auricle.engine import served
from auricle.engine.served import FAULTS_IN_A_ROW
from auricle.errors import UnavailableError
from auricle.v1 import auricle_pb2 as pb
from auricle.v1 import auricle_pb2_grpc as rpc
from live import Live, audio, config, failure, live_server, noise, pcm, vectors
from models import write_classifier, write_embedder, write_failing

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def becomes(channel: grpc.aio.Channel, service: str, status: int) -> None:
    """Waits, on the health service's own stream, for a service's status."""
    stub = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=service))
    async with asyncio.timeout(20):
        async for reply in watch:
            if reply.status == status:
                break
    watch.cancel()


async def end_of(call: grpc.aio.StreamStreamCall) -> tuple[grpc.StatusCode, str | None]:
    """The status and the reason with which a stream is ended while its client listens."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    failed = failure(caught.value)
    return failed.code, failed.reason


async def test_health_speaks_for_the_server_its_services_and_each_model(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path) as server:
        for name in ("", "auricle.v1.AudioService", "auricle.v1.ModelService", "auricle.model/tiny"):
            assert await health(server.channel, name) == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(server.channel, "auricle.model/nobody")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_lists_what_it_knows(tmp_path: Path) -> None:
    gone = write_embedder(tmp_path / "gone.onnx")
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, watch=True) as server:
        gone.unlink()
        await becomes(server.channel, "auricle.model/gone", health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        listed = await health_pb2_grpc.HealthStub(server.channel).List(health_pb2.HealthListRequest())
        names = {"", "auricle.v1.AudioService", "auricle.v1.ModelService", "auricle.model/tiny"}
        assert {name: reply.status for name, reply in listed.statuses.items()} == dict.fromkeys(names, SERVING)


async def test_without_a_model_the_server_lives_and_the_audio_service_does_not_serve(tmp_path: Path) -> None:
    async with live_server(tmp_path) as server:
        assert await health(server.channel, "") == SERVING
        assert await health(server.channel, "auricle.v1.AudioService") == NOT_SERVING


async def fail(server: Live, sound: pb.Audio) -> None:
    """Sends a call whose run fails."""
    # To render a trace costs more than the call.
    with capture_logs(), pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Embed(pb.EmbedRequest(audio=sound))
    failed = failure(caught.value)
    assert failed.code is grpc.StatusCode.INTERNAL
    assert "id " in failed.message


async def test_a_model_that_fails_on_what_callers_send_goes_on_serving(tmp_path: Path) -> None:
    write_failing(tmp_path / "shaky.onnx")
    async with live_server(tmp_path) as server:
        (model,) = server.server.repository.models()
        tried: list[float] = []
        noise_of = model.graph.noise
        model.graph.noise = lambda seed: tried.append(seed) or noise_of(seed)  # type: ignore[method-assign]
        segment = pcm(np.full(1600, 0.99, np.float32))
        for _ in range(2 * FAULTS_IN_A_ROW):
            await fail(server, segment)
        assert len(tried) == 2
        assert await health(server.channel, "auricle.model/shaky") == SERVING


async def test_a_model_that_fails_by_itself_is_not_serving_until_it_answers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    monkeypatch.setattr(served, "TRIED_AGAIN_S", 0.01)
    async with live_server(tmp_path) as server:
        (model,) = server.server.repository.models()

        def lost(*_: object) -> None:
            raise RuntimeError("the device is lost")

        with monkeypatch.context() as broken, capture_logs():
            broken.setattr(model.graph, "_infer", lost)
            for _ in range(FAULTS_IN_A_ROW):
                await fail(server, pcm(noise(0.975)))
            await becomes(server.channel, "auricle.model/tiny", NOT_SERVING)
            assert await health(server.channel, "auricle.v1.AudioService") == NOT_SERVING
        # Nobody calls a server that is not serving: it finds out by itself.
        await becomes(server.channel, "auricle.model/tiny", SERVING)
        assert await health(server.channel, "auricle.v1.AudioService") == SERVING


async def test_models_are_loaded_swapped_and_drained_as_files_change(tmp_path: Path) -> None:
    models_dir, shelf = tmp_path / "models", tmp_path / "shelf"
    write_embedder(shelf / "2.onnx")
    write_classifier(shelf / "labels.onnx")
    write_embedder(models_dir / "tiny" / "9.onnx")
    async with live_server(models_dir, watch=True) as server:
        stream = server.audio.StreamEmbed()
        await stream.write(config(model=pb.ModelSelector(name="tiny")))
        assert (await stream.read()).ready.model.version == "9"

        shutil.copy(shelf / "labels.onnx", models_dir / "labels.onnx")
        await becomes(server.channel, "auricle.model/labels", SERVING)
        shutil.copy(shelf / "2.onnx", models_dir / "tiny" / "10.onnx")
        (models_dir / "tiny" / "9.onnx").unlink()
        (models_dir / "labels.onnx").unlink()
        await becomes(server.channel, "auricle.model/labels", health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(server.channel, "auricle.model/labels")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        await server.server.repository.refresh()

        request = pb.EmbedRequest(model=pb.ModelSelector(name="tiny"), audio=pcm(noise(1.0)))
        answer = await server.audio.Embed(request)
        assert answer.model.version == "10"
        await stream.write(audio(noise(1.0).tobytes()))
        served_by_the_old = await stream.read()
        np.testing.assert_array_equal(vectors(served_by_the_old.result.embeddings)[0].shape, (5,))
        await stream.done_writing()


async def test_a_bad_new_file_leaves_the_old_model_serving(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path) as server:
        (tmp_path / "tiny.onnx").write_bytes(b"this is no model")
        await server.server.repository.refresh()
        assert (await server.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))).usage.segments == 2
        assert str(next(iter(server.server.repository.failures.values()))).startswith("tiny.onnx")


async def test_models_are_listed_newest_first_and_shown_with_labels(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny" / "9.onnx")
    write_embedder(tmp_path / "tiny" / "10.onnx")
    write_classifier(tmp_path / "labels.onnx")
    async with live_server(tmp_path) as server:
        listed = (await server.models.ListModels(pb.ListModelsRequest())).models
        assert [(model.name, model.version, model.newest) for model in listed] == [
            ("labels", "1", True),
            ("tiny", "10", True),
            ("tiny", "9", False),
        ]
        assert not any(head.label_lists for model in listed for head in model.heads)
        only = await server.models.ListModels(pb.ListModelsRequest(kind=pb.HEAD_KIND_CLASSIFICATION))
        assert [model.name for model in only.models] == ["labels"]
        shown = await server.models.GetModel(pb.GetModelRequest(model=pb.ModelSelector(name="labels")))
        assert [head.label_lists[0].names[0] for head in shown.model.heads if head.labels] == ["dog", "calm"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.models.GetModel(pb.GetModelRequest())
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MODEL_REQUIRED")


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    async with live_server(tmp_path) as server:
        with pytest.raises(UnavailableError, match="cannot listen"):
            async with live_server(tmp_path, listen=f"127.0.0.1:{server.server.port}"):
                pass


def start_process(models_dir: Path, port_file: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "auricle.cli", "serve", "--models", str(models_dir)]
    listen = ["--listen", "127.0.0.1:0", "--port-file", str(port_file)]
    return subprocess.Popen([*command, *listen, *flags], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


async def port_of(process: subprocess.Popen[bytes]) -> int:
    """The port from the log line that says it serves; the log is JSON where nobody watches."""
    assert process.stderr is not None
    while line := await asyncio.to_thread(process.stderr.readline):
        record = json.loads(line)
        if record["event"] == "serving":
            return int(record["address"].rpartition(":")[2])
    raise AssertionError("the server ended before it served")


async def test_sigterm_under_load_loses_no_accepted_request_and_exits_0(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    process = start_process(tmp_path, tmp_path / "port")
    port = await port_of(process)
    outcomes: Counter[str] = Counter()
    sound = pcm(noise(2.0))
    started = asyncio.Event()

    async def caller() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = rpc.AudioServiceStub(channel)
            while True:
                try:
                    answer = await stub.Embed(pb.EmbedRequest(audio=sound))
                except grpc.aio.AioRpcError as error:
                    outcomes[error.code().name] += 1
                    return
                assert answer.usage.segments == 4
                outcomes["OK"] += 1
                if outcomes["OK"] > 100:
                    started.set()

    callers = [asyncio.create_task(caller()) for _ in range(16)]
    await asyncio.wait_for(started.wait(), 60)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*callers), 60)
    code = await asyncio.to_thread(process.wait, 60)
    rest = process.stderr.read() if process.stderr else b""
    process.stderr.close() if process.stderr else None
    assert set(outcomes) == {"OK", "UNAVAILABLE"}
    assert outcomes["UNAVAILABLE"] == 16
    assert code == 0, rest.decode()


async def test_a_stream_outlives_sigterm_until_the_grace_period_ends_it_with_unavailable(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    process = start_process(tmp_path, tmp_path / "port", "--grace-s", "1")
    port = await port_of(process)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = rpc.AudioServiceStub(channel).StreamEmbed()
        await call.write(config())
        assert (await call.read()).HasField("ready")
        process.send_signal(signal.SIGTERM)
        await call.write(audio(noise(1.0).tobytes()))
        assert (await call.read()).HasField("result")
        assert await end_of(call) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert await asyncio.to_thread(process.wait, 60) == 0
    assert process.stderr is not None
    process.stderr.close()


async def test_a_draining_server_is_not_serving_and_a_second_signal_ends_the_grace_period(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    process = start_process(tmp_path, tmp_path / "port", "--grace-s", "3600")
    port = await port_of(process)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = rpc.AudioServiceStub(channel).StreamEmbed()
        await call.write(config())
        assert (await call.read()).HasField("ready")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while json.loads(await asyncio.to_thread(process.stderr.readline))["event"] != "draining":
            pass
        for service in ("", "auricle.v1.AudioService", "auricle.v1.ModelService", "auricle.model/tiny"):
            await becomes(channel, service, NOT_SERVING)
        process.send_signal(signal.SIGINT)
        assert await end_of(call) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert await asyncio.to_thread(process.wait, 60) == 0
    process.stderr.close()


async def test_sigterm_while_models_load_ends_that_after_the_model_at_hand(tmp_path: Path) -> None:
    for number in range(6):
        write_embedder(tmp_path / f"tiny-{number}.onnx")
    process = start_process(tmp_path, tmp_path / "port", "--no-bundled")
    assert process.stderr is not None
    while json.loads(await asyncio.to_thread(process.stderr.readline))["event"] != "model loaded":
        pass
    process.send_signal(signal.SIGTERM)
    rest = [json.loads(line)["event"] for line in await asyncio.to_thread(process.stderr.readlines)]
    assert await asyncio.to_thread(process.wait, 60) == 0
    process.stderr.close()
    assert "serving" not in rest
    assert rest.count("model loaded") < 5
    assert not (tmp_path / "port").exists()


async def test_a_call_that_names_no_model_gets_the_only_one_that_can_answer_it(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, bundled=True) as server:
        embedded = await server.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))
        classified = await server.audio.Classify(pb.ClassifyRequest(audio=pcm(noise(1.0))))
        assert (embedded.model.name, classified.model.name) == ("tiny", "digits")
        write_classifier(tmp_path / "labels.onnx")
        await server.server.repository.refresh()
        classified = await server.audio.Classify(pb.ClassifyRequest(audio=pcm(noise(1.0))))
        assert classified.model.name == "labels"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MODEL_REQUIRED")
        assert "labels, tiny" in failed.message
