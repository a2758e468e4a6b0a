"""A function app with one function per rule of the host."""

import asyncio
import json
import logging
import os
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
logger = logging.getLogger("sample")


def _json(**content: object) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(content), mimetype="application/json")


def _write(name: str, line: str) -> None:
    with (Path(os.environ["SAMPLE_DIRECTORY"]) / name).open("a") as file:
        file.write(line + "\n")


@app.route(route="items/{id}", methods=["GET", "PUT"])
async def item(req: func.HttpRequest) -> func.HttpResponse:
    return _json(function="item", params=dict(req.route_params), query=dict(req.params), method=req.method)


@app.route(route="items/special", methods=["GET"])
async def special(req: func.HttpRequest) -> func.HttpResponse:
    return _json(function="special")


@app.route(route="things/{id:guid}/{part?}")
async def thing(req: func.HttpRequest) -> func.HttpResponse:
    return _json(function="thing", params=dict(req.route_params))


@app.route(route="locked", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def locked(req: func.HttpRequest) -> func.HttpResponse:
    return _json(function="locked")


@app.route(route="very-locked", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
async def very_locked(req: func.HttpRequest) -> func.HttpResponse:
    return _json(function="very_locked")


@app.route(route="echo", methods=["POST"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    headers = {"X-Answer": req.headers.get("X-Question", ""), "Set-Cookie": "taste=sweet; Path=/; HttpOnly"}
    return func.HttpResponse(
        req.get_body(), status_code=201, headers=headers, mimetype="application/octet-stream"
    )


@app.route(route="context", methods=["GET"])
async def context_of_call(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    logger.info("asked for the context", extra={"ticket": "T-1", "invocation": context.invocation_id})
    return _json(
        invocation=context.invocation_id,
        traceparent=context.trace_context.trace_parent,
        tracestate=context.trace_context.trace_state,
        retries=context.retry_context.retry_count,
        headers=dict(req.headers),
        url=req.url,
    )


@app.route(route="failure", methods=["GET"])
async def failure(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("on purpose")


@app.route(route="slow", methods=["GET"])
async def slow(req: func.HttpRequest) -> func.HttpResponse:
    _write("slow", "begin")
    await asyncio.sleep(1)
    return _json(function="slow")


@app.timer_trigger(schedule="0 0 0 1 1 *", arg_name="timer")
async def yearly(timer: func.TimerRequest) -> None:
    _write("yearly", f"past due: {timer.past_due}")


@app.timer_trigger(schedule="%SAMPLE_SCHEDULE%", arg_name="timer", run_on_startup=True)
async def startup(timer: func.TimerRequest) -> None:
    _write("startup", "ran")


@app.timer_trigger(schedule="*/1 * * * * *", arg_name="timer")
async def busy(timer: func.TimerRequest) -> None:
    """Take longer than the interval, and fail every time."""
    _write("busy", "begin")
    await asyncio.sleep(1.2)
    _write("busy", "end")
    raise RuntimeError("busy on purpose")


@app.queue_trigger(arg_name="message", queue_name="work", connection="Nothing")
async def queued(message: str) -> None:
    _write("queued", message)
