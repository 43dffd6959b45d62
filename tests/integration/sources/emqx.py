"""EMQX's side of ExHook: a gRPC client that makes the calls that EMQX makes, with messages of their own.

    async with Emqx(port, "v2") as emqx:
        hooks = await emqx.load()
        await emqx.publish("a/b", b"x", id="0001")

Its messages are compiled by protoc from `exhook.proto`, which knows nothing of `bridge.sources.exhook`.
"""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

REQUEST_TIMEOUT_S = 5.0
"""EMQX's own default."""


@functools.cache
def _pool(version: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "exhook.proto")
        path.write_text(Path(__file__).with_name("exhook.proto").read_text().replace("VERSION", version))
        out = Path(folder, "out")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={out}"]
        subprocess.run([*command, str(path)], check=True, timeout=60)
        found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return pool


class Emqx:
    """A node of EMQX with `pool_size` connections, which take turns."""

    def __init__(
        self,
        port: int,
        version: str = "v3",
        *,
        node: str = "emqx@10.0.0.1",
        pool_size: int = 8,
        timeout: float = REQUEST_TIMEOUT_S,
        credentials: Any = None,
    ) -> None:
        self.node = node
        self.timeout = timeout
        self._service = f"emqx.exhook.{version}.HookProvider"
        self._numbers = itertools.count(1)
        pool = _pool(version)
        self._methods = {
            method.name: (
                message_factory.GetMessageClass(method.input_type),
                message_factory.GetMessageClass(method.output_type),
            )
            for method in pool.FindServiceByName(self._service).methods
        }
        # Each channel its own connection, as EMQX's workers have.
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 300),
        ]
        place = f"127.0.0.1:{port}"
        self._channels = itertools.cycle(
            [
                grpc.aio.insecure_channel(place, options)
                if credentials is None
                else grpc.aio.secure_channel(f"localhost:{port}", credentials, options)
                for _ in range(pool_size)
            ]
        )
        self._all = [next(self._channels) for _ in range(pool_size)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._all:
            await channel.close()

    @property
    def methods(self) -> list[str]:
        return list(self._methods)

    def request(self, method: str, **fields: Any) -> Any:
        made = self._methods[method][0](**fields)
        meta = made.meta
        meta.node, meta.version, meta.sysdescr, meta.cluster_name = self.node, "5.8.6", "EMQX", "emqxcl"
        return made

    async def call(self, method: str, **fields: Any) -> Any:
        """One call, with EMQX's time limit; raises grpc.aio.AioRpcError."""
        answer = self._methods[method][1]
        call = next(self._channels).unary_unary(
            f"/{self._service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return await call(self.request(method, **fields), timeout=self.timeout)

    async def raw(self, path: str, data: bytes = b"") -> bytes:
        """A call of any method with any bytes."""
        answer: bytes = await next(self._channels).unary_unary(path)(data, timeout=self.timeout)
        return answer

    async def load(self) -> dict[str, list[str]]:
        """OnProviderLoaded: the hooks, with their topic filters."""
        broker = {"version": "5.8.6", "sysdescr": "EMQX", "uptime": 1, "datetime": "2026-03-01T09:30:00"}
        answer = await self.call("OnProviderLoaded", broker=broker)
        return {hook.name: list(hook.topics) for hook in answer.hooks}

    # -- what calls are made of --------------------------------------------------------------------------

    def client(self, clientid: str = "c1", **more: Any) -> dict[str, Any]:
        return {
            "node": self.node,
            "clientid": clientid,
            "username": "u1",
            "password": "s3cret-of-c1",
            "peerhost": "10.1.2.3",
            "peerport": 54321,
            "sockport": 1883,
            "protocol": "mqtt",
            "anonymous": True,
            **more,
        }

    def conn(self, clientid: str = "c1", **more: Any) -> dict[str, Any]:
        return {
            "node": self.node,
            "clientid": clientid,
            "username": "u1",
            "peerhost": "10.1.2.3",
            "peerport": 54321,
            "sockport": 1883,
            "proto_name": "MQTT",
            "proto_ver": "5",
            "keepalive": 60,
            **more,
        }

    def message(self, topic: str, payload: bytes, **more: Any) -> dict[str, Any]:
        return {
            "node": self.node,
            "id": f"{next(self._numbers):032X}",
            "qos": 1,
            "from": "c1",
            "topic": topic,
            "payload": payload,
            "timestamp": int(time.time() * 1000),
            "headers": {
                "username": "u1",
                "protocol": "mqtt",
                "peerhost": "10.1.2.3",
                "allow_publish": "true",
            },
            **more,
        }

    async def publish(self, topic: str, payload: bytes, **more: Any) -> Any:
        """OnMessagePublish; its ValuedResponse."""
        return await self.call("OnMessagePublish", message=self.message(topic, payload, **more))
