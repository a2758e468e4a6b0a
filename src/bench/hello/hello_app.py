"""The smallest function app: the floor of importing and indexing."""

import azure.functions as func

app = func.FunctionApp()


@app.route("hello", methods=["POST"])
async def hello(req: func.HttpRequest) -> func.HttpResponse:
    """Say so."""
    return func.HttpResponse(req.method)
