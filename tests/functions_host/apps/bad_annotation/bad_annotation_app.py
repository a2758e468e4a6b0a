"""A function app that the worker refuses: the return annotation is not one of an HTTP function."""

import azure.functions as func

app = func.FunctionApp()


@app.route(route="answer")
async def answer(req: func.HttpRequest) -> dict[str, str]:
    return {}
