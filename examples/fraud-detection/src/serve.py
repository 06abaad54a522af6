"""Serves a model directory over HTTP.

python src/serve.py --model-dir models --pointer pointer.json --port 8080

| path | answer |
|---|---|
| `POST /predict` | scores of payments, given the history of their accounts |
| `GET /healthz` | the process answers |
| `GET /readyz` | the model is loaded and has made a prediction |
| `GET /metrics` | requests, latencies and scores, for Prometheus |
"""

import argparse
import logging
import math
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from model.artifact import ModelError, read_schema
from pointer import Pointer, PointerError, read_pointer
from serving.metrics import Metrics
from serving.schemas import ModelIdentity, Prediction, PredictRequest, PredictResponse
from serving.scorer import Scorer, warm_up_request

logger = logging.getLogger("serve")


def create_app(model_dir: Path, pointer: Pointer | None) -> FastAPI:
    """Returns the application; the model is loaded when it starts."""
    identity = ModelIdentity(
        manifest=pointer.manifest if pointer else "unknown",
        fingerprint=pointer.fingerprint if pointer else "unknown",
    )
    metrics = Metrics(identity)
    loaded: list[Scorer] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        scorer = Scorer(model_dir)
        # A model that cannot predict ends the process here, before it gets any traffic.
        scorer.predict(warm_up_request())
        loaded.append(scorer)
        logger.info("serving %s", identity.manifest)
        yield

    app = FastAPI(title="Fraud detector", lifespan=lifespan)

    @app.middleware("http")
    async def measure(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        status = 500  # what is answered where an exception comes through
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            if request.url.path == "/predict":
                metrics.observe_request(status, time.perf_counter() - started)

    # Not async: a prediction is computation, which belongs into a thread of its own.
    @app.post("/predict")
    def predict(request: PredictRequest) -> PredictResponse:
        try:
            predictions: list[Prediction] = loaded[0].predict(request)
            if not all(math.isfinite(prediction.score) for prediction in predictions):
                raise ValueError("a score is not a number")
        except Exception as error:
            logger.exception("the prediction failed")
            raise HTTPException(500, "the prediction failed") from error
        metrics.observe_scores([prediction.score for prediction in predictions])
        return PredictResponse(model=identity, predictions=predictions)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    def readyz() -> ModelIdentity:
        if not loaded:
            raise HTTPException(503, "the model is not loaded")
        return identity

    @app.get("/metrics")
    def export() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def listen(config: uvicorn.Config) -> socket.socket:
    """Binds the server's socket; ends the process where that fails.

    An answer goes out in two pieces, and the second must not wait until the first was
    acknowledged: that takes 40 ms. asyncio sees to it only for sockets that it makes itself.
    """
    listener = config.bind_socket()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return listener


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Serve the fraud model.")
    parser.add_argument("--model-dir", type=Path, default=Path("models"))
    parser.add_argument("--pointer", help="pointer of ml-cache: its JSON, or a file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes one that is free")
    parser.add_argument("--port-file", type=Path, help="a file to write the number of the port to")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port <= 65535:
        parser.error(f"--port must be from 0 to 65535, not {arguments.port}")

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        pointer = read_pointer(arguments.pointer) if arguments.pointer else None
        # A model of another format is told in a line; the rest is looked at when it is loaded.
        read_schema(arguments.model_dir)
    except (ModelError, OSError, PointerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    app = create_app(arguments.model_dir, pointer)
    config = uvicorn.Config(app, host=arguments.host, port=arguments.port, access_log=False)
    # Before the model is loaded: a port that is taken ends the process at once.
    listener = listen(config)
    if arguments.port_file:
        arguments.port_file.write_text(f"{listener.getsockname()[1]}\n")
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
