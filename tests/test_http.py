"""The answers of design section 5, through the real worker."""
from conftest import App

async def test_a_first_delivery_is_linked_and_commented(app: App) -> None:
    incident = app.workspace.add_incident(number=3177, title="x")
    answer = await app.post(incident)
    print(answer, incident.comments, [(r.operation,r.status) for r in app.sandbox.log.all])
    again = await app.post(incident)
    print(again)
    print(await app.health())
    print(await app.record(incident.name, workspace="law-sentinel-prod"))
    assert 0
