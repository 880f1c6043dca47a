"""A person at Prefect's pages: a real Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Page, Playwright, sync_playwright

SHOTS = Path(__file__).parent / "shots"
WAIT_MS = 30_000
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Person:
    """Somebody who looks at pages and clicks.

    With ``TEST_SHOTS=1`` each look leaves a picture in ``shots/``; a failure leaves one always.
    """

    page: Page
    root: str
    test: str
    looks: int = 0

    def open(self, path: str) -> None:
        """Go to a page of the UI."""
        self.page.goto(f"{self.root}/v2/{path}")

    def look(self, at: str) -> None:
        """Keep a picture of what is shown now, if pictures are wanted."""
        if os.environ.get("TEST_SHOTS") != "1":
            return
        self.looks += 1
        # Lists come and go with little animations; a picture in between shows nothing.
        self.page.wait_for_load_state("networkidle")
        name = f"{self.test}-{self.looks:02d}-{at}.png"
        self.page.screenshot(path=SHOTS / name, full_page=True)

    def fill(self, label: str, text: str, nth: int = 0) -> None:
        """Type into the field of that label."""
        self.page.get_by_label(label).nth(nth).fill(text)

    def fill_json(self, text: str, nth: int = 0) -> None:
        """Type into a JSON editor."""
        editor = self.page.locator(".cm-content").nth(nth)
        editor.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)

    def press(self, name: str) -> None:
        """Click the button of that name."""
        self.page.get_by_role("button", name=name).first.click()

    def sees(self, text: str) -> Any:
        """Wait until the text is shown."""
        found = self.page.get_by_text(text).first
        found.wait_for()
        return found


@contextmanager
def person_at(root: str, test: str) -> Iterator[Person]:
    """Somebody with a browser at the Prefect server ``root``; skips where there is none."""
    SHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = _launch(playwright)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(WAIT_MS)
        person = Person(page, root, test)
        try:
            yield person
        except BaseException:
            page.screenshot(path=SHOTS / f"{test}-failed.png", full_page=True)
            raise
        finally:
            browser.close()


def _launch(playwright: Playwright) -> Any:
    """The system's Chromium, or the one that `playwright install chromium` brought."""
    system = next(filter(None, map(shutil.which, NAMES)), None)
    options: dict[str, Any] = {"args": ["--no-sandbox", "--disable-dev-shm-usage"]}
    if system is not None:
        return playwright.chromium.launch(executable_path=system, **options)
    if not Path(playwright.chromium.executable_path).exists():
        pytest.skip("no browser: `apt-get install chromium` or `playwright install chromium`")
    try:
        return playwright.chromium.launch(**options)
    except Error as error:
        pytest.skip(f"the browser of playwright does not start here: {error.message[:300]}")
