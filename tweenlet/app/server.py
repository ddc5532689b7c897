"""Server of the page: uploads, downloads and the state of jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from tweenlet.app.jobs import Job, read_options
from tweenlet.runtime.extras import import_extra
from tweenlet.video.images import is_image

PAGE = Path(__file__).parent / "page.html"
HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data: blob:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
PROOF = "x-tweenlet"
"""Header that the page sends with every change: other sites' pages cannot, which stops request forgery."""
_HOSTS = ["127.0.0.1", "localhost", "testserver"]


class Server:
    """The page as an ASGI application, for one person.

    Args:
        folder: folder for uploads and results.
        max_bytes: largest upload.
        max_seconds: longest run.
        model: name of bundled weights, or path to a checkpoint.
        device: where the network runs.

    Raises:
        OSError: the extra `app` is not installed.

    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 4 << 30,
        max_seconds: float = 4 * 3600,
        model: str = "default",
        device: str | None = None,
    ) -> None:
        self._folder, self._max_bytes, self._max_seconds = folder, max_bytes, max_seconds
        self._model, self._device = model, device
        self._jobs: dict[str, Job] = {}
        applications = import_extra("starlette.applications")
        middleware = import_extra("starlette.middleware")
        hosts = import_extra("starlette.middleware.trustedhost")
        routes = import_extra("starlette.routing")
        self._responses = import_extra("starlette.responses")
        self.application = applications.Starlette(
            routes=[
                routes.Route("/", self._page),
                routes.Route("/upload", self._guarded(self._upload), methods=["PUT"]),
                routes.Route("/jobs/{key}", self._status),
                routes.Route("/jobs/{key}/start", self._guarded(self._start), methods=["POST"]),
                routes.Route("/jobs/{key}/cancel", self._guarded(self._cancel), methods=["POST"]),
                routes.Route("/jobs/{key}/{what}", self._file),
            ],
            middleware=[middleware.Middleware(hosts.TrustedHostMiddleware, allowed_hosts=_HOSTS)],
        )

    def _guarded(self, handle: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        async def guarded(request: Any) -> Any:
            if PROOF not in request.headers:
                return self._answer({"message": "only this page may ask that"}, 403)
            try:
                return await handle(request)
            except KeyError:
                return self._answer({"message": "no such job: reload the page"}, 404)
            except (ValueError, OSError) as error:
                return self._answer({"message": str(error)}, 400)

        return guarded

    def _answer(self, values: dict[str, Any], status: int = 200) -> Any:
        return self._responses.JSONResponse(values, status, headers=HEADERS)

    async def _page(self, _request: Any) -> Any:
        return self._responses.FileResponse(PAGE, headers=HEADERS)

    async def _upload(self, request: Any) -> Any:
        name = Path(request.query_params.get("name", "")).name
        if not name or len(name) > 200 or name.startswith("."):
            raise ValueError(f"expected the name of a file, got {name!r}")
        earlier = request.query_params.get("with")
        job = self._jobs[earlier] if earlier else self._new_job(name)
        source = job.folder / f"source{len(job.sources)}{Path(name).suffix.lower()}"
        size = 0
        with source.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > self._max_bytes:
                    break
                file.write(part)
        if size > self._max_bytes:
            source.unlink()
            raise ValueError(f"{name} is larger than {self._max_bytes / 1e6:,.1f} MB")
        job.sources.append(source)
        self._jobs[job.key] = job
        is_first_picture = is_image(source) and len(job.sources) == 1
        if is_first_picture:
            job.state, job.facts = "half", {"pictures": 1}
        else:
            job.begin(job.look)
        return self._answer(job.as_json())

    def _new_job(self, name: str) -> Job:
        folder = mkdtemp(dir=self._folder)
        return Job(Path(folder), name, self._max_seconds, self._model, self._device)

    async def _status(self, request: Any) -> Any:
        job = self._jobs.get(request.path_params["key"])
        if job is None:
            return self._answer({"message": "no such job: reload the page"}, 404)
        return self._answer(job.as_json())

    async def _start(self, request: Any) -> Any:
        job = self._jobs[request.path_params["key"]]
        if job.state not in ("ready", "done", "failed", "cancelled") or not job.facts:
            raise ValueError(f"this job is {job.state}")
        options = read_options(await request.json())
        job.state = "waiting"
        job.begin(partial(job.make, options))
        return self._answer(job.as_json())

    async def _cancel(self, request: Any) -> Any:
        job = self._jobs[request.path_params["key"]]
        job.cancel()
        return self._answer(job.as_json())

    async def _file(self, request: Any) -> Any:
        job = self._jobs.get(request.path_params["key"])
        kind = request.path_params["what"]
        if job is None:
            return self._answer({"message": "no such job"}, 404)
        files = {"preview": job.preview, "before": job.sources[0]}
        if job.result is not None:
            files |= {"result": job.result, "download": job.result}
        if len(job.sources) > 1:
            files["after"] = job.sources[1]
        path = files.get(kind)
        if path is None or not path.exists():
            return self._answer({"message": "not there yet"}, 404)
        name = path.name if kind == "download" else None
        return self._responses.FileResponse(path, filename=name, headers=HEADERS)


def serve(port: int, opened: Callable[[str], None], **options: Any) -> None:
    """Serve the page until interrupted, then remove all files; ``opened`` is called with its address.

    Raises:
        OSError: the port is taken, or the extra `app` is not installed.

    """
    uvicorn = import_extra("uvicorn")
    import socket

    with TemporaryDirectory(prefix="tweenlet-app-") as folder, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        application = Server(Path(folder), **options).application
        opened(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        config = uvicorn.Config(application, log_level="error", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])
