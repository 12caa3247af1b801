"""A server that speaks OpenAI's chat completion protocol, and misbehaves by script.

    with ChatServer(answer) as server:
        ... --base-url server.url ...
    server.asked  # what came, in order

`answer(asked)` gets one Asked and returns a Reply. It runs in the server's own thread, one call at a time.
"""

import asyncio
import dataclasses
import json
import threading
import time


@dataclasses.dataclass
class Asked:
    number: int          # 0, 1, ... in the order of arrival
    target: str          # "/v1/chat/completions"; a whole address when the server is used as a proxy
    headers: dict        # names in lower case
    body: bytes
    connection: int      # which connection it came over
    came: float          # time.monotonic()
    sent: float = 0      # when the last byte of the reply was handed to the system; 0: never

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def question(self):
        """The last message: what tells one item from another."""
        return self.json["messages"][-1]["content"]


@dataclasses.dataclass
class Reply:
    status: int = 200
    body: str = ""
    headers: dict = dataclasses.field(default_factory=dict)
    delay: float = 0     # seconds before the first byte
    drop: str = ""       # "before": close without a byte; "middle": after half of the reply


def completion(text, prompt_tokens=100, completion_tokens=20):
    return json.dumps({"id": "x", "object": "chat.completion",
                       "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                       "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}})


def rating(value, **usage):
    return Reply(body=completion(f"It agrees in part.\nRating: [[{value}]]", **usage))


def error(status, message, **more):
    return Reply(status=status, body=json.dumps({"error": {"message": message, "type": "test"}}), **more)


class ChatServer:
    def __init__(self, answer, tls=None):
        self.answer = answer
        self.asked = []
        self._tls = tls
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1024)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(self, *_):
        async def stop():
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader, writer):
        self._connections += 1
        connection = self._connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                asked = Asked(len(self.asked), head[0].split(" ")[1], headers, body, connection, time.monotonic())
                self.asked.append(asked)
                reply = self.answer(asked)
                if reply.delay:
                    await asyncio.sleep(reply.delay)
                if reply.drop == "before":
                    return
                content = reply.body.encode()
                lines = [f"HTTP/1.1 {reply.status} X", "Content-Type: application/json", f"Content-Length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in reply.headers.items()]
                message = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
                if reply.drop == "middle":
                    writer.write(message[:-len(content) // 2])
                    await writer.drain()
                    return
                writer.write(message)
                await writer.drain()
                asked.sent = time.monotonic()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()
