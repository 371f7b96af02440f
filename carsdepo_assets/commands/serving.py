"""`carsdepo serve --stage STAGE`: runs the inspection service of a stage until SIGTERM or Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING

from carsdepo_assets import redaction
from carsdepo_assets.commands.dev import PortTaken
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_container import ContainedModel, ContainedModels

if TYPE_CHECKING:
    from carsdepo_assets.inference.model_loading import Load
    from carsdepo_assets.registry.ledger import Stage

logger = logging.getLogger(__name__)

HEADER_BYTES = 2**16  # of a request's line and headers
GRACE_S = 30  # seconds for requests under way when the service is asked to end


def run(
    settings: Settings, stage: Stage, host: str = "127.0.0.1", port: int | None = None, *, load: Load | None = None
) -> int:
    """Serves until SIGTERM or SIGINT, then finishes the requests under way and closes the file of captured answers.

    Where the variable CARSDEPO_MODEL_FOLDER names a folder of this container, the model in it is served and no lake is
    asked; where CARSDEPO_MODELS_FOLDER does, SageMaker loads several models from it. See settings_container.

    The first line on stdout has the URL.

    Args:
        settings: The installation.
        stage: "staging" or "production".
        host: The address to listen on.
        port: The port; None: the stage's own; 0: a free one.
        load: How a model is loaded from the lake; None: as usual.

    Returns:
        The exit code: 0 where it had started, else 1.

    Raises:
        PortTaken: It cannot listen there; nothing was started.
        ModelFilesError: The container's folder holds no model.
    """
    listener = _listen(host, getattr(settings, f"{stage}_port") if port is None else port, stage)
    redaction.install()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    if settings.api_key is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        logger.warning("Anyone who can reach %s can send photographs and see the pages: set CARSDEPO_API_KEY.", host)

    import uvicorn

    from carsdepo_assets.inference import contained_model, model_loading
    from carsdepo_assets.inference.app import create_app
    from carsdepo_assets.inference.connections import BACKLOG, allow_connections

    allow_connections()
    contained, several = ContainedModel.read(os.environ), ContainedModels.read(os.environ)
    if several is not None:
        settings = contained_model.several_settings(settings, several)
    elif contained is not None:
        settings = contained_model.served_settings(settings, contained, stage)
    load = load or model_loading.loader(settings.verification_key, settings.home / "runtime_speeds.json")
    app = create_app(settings, stage, load, hands_over=contained is not None, several=several)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
        # h11, since httptools has no limit on headers: one that never ends would keep the event loop and the memory.
        http=app.state.connections.protocol,  # uvicorn calls it for each connection
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    server = uvicorn.Server(config)

    def end(number: int, frame: object) -> None:
        server.should_exit = True

    # Before uvicorn's own handlers, and after: it raises a signal again once it has ended well.
    previous = {s: signal.signal(s, end) for s in (signal.SIGINT, signal.SIGTERM)}
    shown, number = listener.getsockname()[:2]
    print(f"{stage}: http://{shown}:{number}   lake: {settings.lake}   Ctrl-C ends it.", flush=True)
    try:
        server.run(sockets=[listener])
    finally:
        for which, handler in previous.items():
            signal.signal(which, handler)
        listener.close()
    return 0 if server.started else 1


def _listen(host: str, port: int, stage: str) -> socket.socket:
    """A listening socket. Raises PortTaken, also when the address is not this machine's."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a crash the port is free at once
        listener.bind(address)
        listener.listen(2048)  # now: a port that is only bound could be bound by a second service too
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            name = f"CARSDEPO_{stage.upper()}_PORT"
            raise PortTaken(f"Port {port} is in use. End what listens there, or set {name}.") from error
        raise PortTaken(f"{host}:{port} cannot be listened on: {error.strerror}.") from error
    return listener
