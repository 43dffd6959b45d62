"""Endpoints: made by the form, checked while one types, tested, rotated, replayed, switched, deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.site import Site, Visitor
from tests.integration.receiver import Request

pytestmark = pytest.mark.asyncio(loop_scope="session")


def at(path: str) -> Any:
    """A condition for `Receiver.wait_for`: a request came to that path."""
    return lambda requests: [one for one in requests if one.target == path]


async def add_event(page: Page, topic: str) -> None:
    await page.get_by_role("button", name="Add an event of the broker").click()
    await page.get_by_label("Topic filter").last.fill(topic)


async def test_made_by_the_form_it_gets_what_is_published(site: Site, visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("endpoints")
    await page.get_by_role("link", name="Create endpoint").click()
    await visitor.heading("Create endpoint")
    description = site.name("Made by hand")
    await page.get_by_label("URL", exact=True).fill(site.receiver.url("/made"))
    await page.get_by_label("Description").fill(description)
    await add_event(page, "made/+/force")
    await page.get_by_text("Choose from the catalogue").click()
    await page.get_by_label("quality.*", exact=True).check()
    await page.get_by_label("Format").select_option("emqx")
    await page.get_by_role("button", name="Create endpoint").click()

    dialog = page.get_by_role("dialog", name="The signing secret")
    secret = await dialog.get_by_label("Signing secret").input_value()
    assert secret.startswith("whsec_")
    await dialog.get_by_role("button", name="Done").click()
    await visitor.heading(description)

    client = await site.client(site.name("presser"))
    await client.publish("made/1/force", b'{"kn": 241.7}', qos=1)
    await client.publish("made/1/other", b"not this one", qos=1)
    found: list[Request] = at("/made")(await site.receiver.wait_for(at("/made")))
    assert [one.json["topic"] for one in found] == ["made/1/force"]
    assert found[0].header("webhook-signature")
    await expect(visitor.row("made/1/force")).to_contain_text("Delivered")
    identifier = page.url.split("/endpoints/")[1].split("?")[0]
    stored = (await site.api.get(f"/api/v2/webhooks/endpoints/{identifier}")).json
    assert stored["events"] == [{"event": "on_message_publish", "topic": "made/+/force"}, "quality.*"]
    assert stored["format"] == "emqx"


async def test_it_is_checked_while_one_types(site: Site, visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("endpoints/new")
    url = page.get_by_label("URL", exact=True)
    for text, fault in (
        ("ftp://x", "Expected http:// or https:// at its beginning."),
        ("http://", "This is not a URL"),
        ("http://a b/", "A URL has no spaces."),
    ):
        await url.fill(text)
        await expect(url).to_have_attribute("aria-invalid", "true")
        await expect(page.locator(".field", has=url).locator(".field-error")).to_contain_text(fault)
    await url.fill(site.receiver.url("/typed"))
    await expect(url).not_to_have_attribute("aria-invalid", "true")

    await add_event(page, "plant/#/force")
    topic = page.get_by_label("Topic filter")
    error = page.locator(".field", has=topic).locator(".field-error")
    await expect(error).to_contain_text("# stands at the end only")
    await topic.fill("plant/a+/force")
    await expect(error).to_contain_text("+ stands alone in its level")
    await topic.fill("plant/+/force")
    await expect(error).to_be_hidden()

    # What only the server knows comes back while one types, at its field.
    await page.get_by_text("Pace and order").click()
    pool = page.get_by_label("Connections")
    await pool.fill("0")
    await expect(pool).to_have_attribute("aria-invalid", "true")
    await expect(page.locator(".field", has=pool).locator(".field-error")).to_contain_text("1 to 4096")
    await pool.fill("4")
    await expect(pool).not_to_have_attribute("aria-invalid", "true")
    where = page.get_by_label("Only if")
    await where.fill("payload.temp >")
    await expect(where).to_have_attribute("aria-invalid", "true")
    await where.fill("payload.temp > 80")
    await expect(where).not_to_have_attribute("aria-invalid", "true")

    # Leaving asks first.
    await page.locator(".nav-link", has_text="Overview").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await visitor.heading("Create endpoint")
    await expect(url).to_have_value(site.receiver.url("/typed"))
    await page.locator(".nav-link", has_text="Overview").click()
    await page.get_by_role("dialog").get_by_role("button", name="Leave").click()
    await visitor.heading("Overview")


async def test_the_preview_shows_the_body_as_it_will_be_sent(site: Site, visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("endpoints/new")
    await page.get_by_label("URL", exact=True).fill(site.receiver.url("/preview"))
    await page.get_by_label("Other types or patterns").fill("work_order.created")
    preview = page.get_by_role("region", name="Live preview")
    await expect(preview.get_by_label("Sample event")).to_have_value("work_order.created")
    body = preview.get_by_role("region", name="Body")
    await expect(body).to_contain_text('"type": "work_order.created"')
    await expect(preview.get_by_role("region", name="Request")).to_contain_text("POST")
    await page.get_by_label("Format").select_option("eryxon")
    await expect(body).to_contain_text('"event": "work_order.created"')
    await page.get_by_label("Format").select_option("template")
    await page.get_by_label("Template").fill('{"mine": "${clientid}"}')
    await expect(body).to_contain_text('"mine"')


async def test_what_is_changed_is_sent_and_nothing_else(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(
        site.name("To be changed"),
        ["work_order.*"],
        "/change",
        headers={"X-Plant": "7", "Authorization": "Bearer hidden"},
        retry={"schedule": ["0s", "5s", "1m"]},
        rate_limit={"per_second": 5},
    )
    page = visitor.page
    before = (await site.api.get(f"/api/v2/webhooks/endpoints/{identifier}")).json
    await page.goto(f"{site.api.url}/dashboard/#/endpoints/{identifier}/edit")
    await expect(page.get_by_label("Description")).to_have_value(before["description"])
    await page.get_by_label("Description").fill("Changed")
    async with page.expect_request(lambda request: request.method == "PATCH") as sent:
        await page.get_by_role("button", name="Save").click()
    assert json.loads((await sent.value).post_data or "") == {"description": "Changed"}
    await visitor.heading("Changed")
    after = (await site.api.get(f"/api/v2/webhooks/endpoints/{identifier}")).json
    assert {**after, "description": "", "changed": ""} == {**before, "description": "", "changed": ""}


async def test_by_keyboard_alone(site: Site, visitor: Visitor) -> None:
    page = visitor.page
    keyboard = page.keyboard

    async def tab_to(name: str, most: int = 60) -> None:
        for _ in range(most):
            await keyboard.press("Tab")
            label = await page.evaluate(
                "() => { const e = document.activeElement; const l = e.labels && e.labels[0];"
                " return (e.getAttribute('aria-label') || (l ? l.textContent : e.textContent)).trim(); }"
            )
            if label == name:
                return
        raise AssertionError(f"no way to {name!r} by Tab; the last was {label!r}")

    await visitor.go("endpoints")
    await visitor.settled()
    await tab_to("Create endpoint")
    await keyboard.press("Enter")
    await visitor.heading("Create endpoint")
    await expect(page.get_by_label("URL", exact=True)).to_be_focused()
    await keyboard.type(site.receiver.url("/keys"))
    await tab_to("Description optional")
    description = site.name("By keyboard")
    await keyboard.type(description)
    await tab_to("+ Add an event of the broker")
    await keyboard.press("Enter")
    await tab_to("Topic filter")
    await keyboard.type("keys/#")
    await keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="The signing secret")
    await expect(dialog).to_be_visible()
    await keyboard.press("Escape")
    await visitor.heading(description)
    client = await site.client(site.name("typist"))
    await client.publish("keys/1", b"x", qos=1)
    await site.receiver.wait_for(at("/keys"))


async def test_one_press_tests_it_and_a_type_can_be_chosen(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(site.name("To be tested"), ["work_order.created"], "/tested")
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/endpoints/{identifier}")
    await page.get_by_role("button", name="Test", exact=True).click()
    await expect(page.locator(".test-result")).to_contain_text("200 in")
    await site.receiver.wait_for(at("/tested"))

    await page.get_by_role("button", name="Send Test Event").click()
    dialog = page.get_by_role("dialog", name="Send Test Event")
    kind = dialog.get_by_label("Event type")
    await expect(kind).to_be_focused()
    await expect(kind).to_have_value("work_order.created")
    await kind.fill("no.such.type!")
    await keyboard_enter(page)
    await expect(kind).to_have_attribute("aria-invalid", "true")
    await kind.fill("quality.ncr_created")
    await keyboard_enter(page)
    await expect(dialog).to_contain_text("quality.ncr_created was taken")
    await expect(dialog.get_by_role("region", name="Body").first).to_contain_text("ncr")
    await expect(dialog).to_contain_text("HTTP/1.1 200 OK")
    await keyboard_enter(page)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("button", name="Send Test Event")).to_be_focused()


async def keyboard_enter(page: Page) -> None:
    await page.keyboard.press("Enter")


async def test_a_test_that_fails_says_why(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(site.name("Nobody there"), ["work_order.created"])
    changed = await site.api.call(
        "PATCH", f"/api/v2/webhooks/endpoints/{identifier}", {"url": "http://127.0.0.1:1/"}
    )
    assert changed.status == 200, changed
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/endpoints/{identifier}")
    await page.get_by_role("button", name="Test", exact=True).click()
    await expect(page.locator(".test-result")).to_contain_text("No response")
    await page.locator(".test-result").get_by_role("button", name="Show").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("It did not work")


async def test_a_rotated_secret_is_shown_once(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(
        site.name("To be rotated"), [{"event": "on_message_publish", "topic": "rotate/#"}], "/rotated"
    )
    page = visitor.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(f"{site.api.url}/dashboard/#/endpoints/{identifier}")
    await page.get_by_role("button", name="Rotate secret").click()
    await page.get_by_role("dialog").get_by_role("button", name="Rotate", exact=True).click()
    dialog = page.get_by_role("dialog", name="The new secret")
    secret = await dialog.get_by_label("Signing secret").input_value()
    assert secret.startswith("whsec_")
    await expect(dialog).to_contain_text("The old one signs too until")
    await dialog.get_by_role("button", name="Copy").click()
    await expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("() => navigator.clipboard.readText()") == secret
    await dialog.get_by_role("button", name="Done").click()
    await expect(page.get_by_text(secret)).to_have_count(0)
    client = await site.client(site.name("rotator"))
    await client.publish("rotate/1", b"x", qos=1)
    found = at("/rotated")(await site.receiver.wait_for(at("/rotated")))
    assert (found[0].header("webhook-signature") or "").count("v1,") == 2


async def test_replayed_from_a_time_with_a_bar(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(
        site.name("To be replayed"), [{"event": "on_message_publish", "topic": "replay/#"}], "/replayed"
    )
    client = await site.client(site.name("replayer"))
    for number in range(5):
        await client.publish("replay/1", str(number).encode(), qos=1)
    await site.receiver.wait_for(lambda requests: len(at("/replayed")(requests)) == 5)
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/endpoints/{identifier}")
    await page.get_by_role("button", name="Replay", exact=True).click()
    dialog = page.get_by_role("dialog", name="Replay")
    await dialog.get_by_role("button", name="Last 15 min").click()
    await dialog.get_by_role("button", name="Replay", exact=True).click()
    card = page.get_by_role("region", name="Replay")
    await expect(card).to_contain_text("5 events handed over")
    await expect(card).to_contain_text("Done")
    await expect(card.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "100 %")
    found = at("/replayed")(
        await site.receiver.wait_for(lambda requests: len(at("/replayed")(requests)) == 10)
    )
    assert sorted(one.id for one in found[:5]) == sorted(one.id for one in found[5:])


async def test_switched_off_and_on_and_deleted(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(site.name("To be switched"), ["work_order.*"])
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/endpoints/{identifier}")
    await page.get_by_role("button", name="Disable").click()
    await expect(page.locator(".title-row .chip")).to_have_text("Off")
    await page.get_by_role("button", name="Enable").click()
    await expect(page.get_by_role("button", name="Disable")).to_be_visible()
    await expect(page.locator(".title-row .chip")).not_to_have_text("Off")  # it may begin slowly
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await visitor.heading("Endpoints")
    assert (await site.api.get(f"/api/v2/webhooks/endpoints/{identifier}")).status == 404


async def test_one_of_the_file_is_marked_and_cannot_be_changed(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("endpoints")
    await page.get_by_label("Made in").select_option("file")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("File")
    await page.get_by_role("link", name="From the file").click()
    await visitor.heading("From the file")
    await expect(page.get_by_text("stands in the configuration file")).to_be_visible()
    for name in ("Edit", "Delete", "Rotate secret"):
        await expect(page.get_by_text(name, exact=True)).to_have_count(0)
    await expect(page.get_by_role("button", name="Send Test Event")).to_be_visible()


async def test_the_url_is_tested_before_anything_is_saved(site: Site, visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("endpoints/new")
    await page.get_by_label("URL", exact=True).fill(site.receiver.url("/draft"))
    await add_event(page, "draft/+/force")
    before = (await site.api.get("/api/v2/webhooks/endpoints")).json["total"]
    await page.get_by_role("button", name="Test", exact=True).click()
    await expect(page.locator(".test-result")).to_contain_text("200 in")
    found = at("/draft")(await site.receiver.wait_for(at("/draft")))
    assert found[0].json["topic"] == "draft/1/force"
    assert (await site.api.get("/api/v2/webhooks/endpoints")).json["total"] == before
    await page.get_by_label("URL", exact=True).fill("http://127.0.0.1:1/")
    await page.get_by_role("button", name="Test", exact=True).click()
    await expect(page.locator(".test-result")).to_contain_text("No response")
